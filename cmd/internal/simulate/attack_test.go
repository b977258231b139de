package simulate

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// story is what the log says about one attack, and about its agent before it.
type story struct {
	Label
	events  []*event.Event // malicious ones, in order
	all     []*event.Event // of its sessions
	before  []*event.Event // benign ones of the agent and its helper, before the attack
	history []*event.Event // everything
}

// stories simulates a fleet under each attack four times and tells each.
func stories(t *testing.T) []story {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Agents, cfg.Days, cfg.Injections, cfg.AttackFrom = 160, 8, 4, 4*day
	f := fleet(t, cfg)
	var all []*event.Event
	byID := map[string]*event.Event{}
	for _, line := range lines(f.Events()) {
		ev := decode(t, line)
		all = append(all, ev)
		byID[ev.ID] = ev
	}
	var told []story
	labels := f.Labels()
	written := sessions(labels)
	for _, l := range labels {
		s := story{Label: l, history: all}
		for _, id := range l.Events {
			if byID[id] == nil {
				t.Fatalf("%s: event %s of the label is not in the log", l.Injection, id)
			}
			s.events = append(s.events, byID[id])
		}
		for _, ev := range all {
			switch {
			case slices.Contains(l.Sessions, ev.Session):
				s.all = append(s.all, ev)
			case ev.Agent == l.Agent && ev.Time < event.At(l.Start) && !written[ev.Session]:
				s.before = append(s.before, ev)
			}
		}
		told = append(told, s)
	}
	return told
}

func (s *story) used(fits func(ev *event.Event) bool) bool {
	return slices.ContainsFunc(s.before, fits)
}

func calls(events []*event.Event) []*event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(ev *event.Event) bool { return ev.Name != event.ToolCall })
}

func intended(s *story, ev *event.Event) bool {
	return slices.ContainsFunc(s.all, func(m *event.Event) bool {
		return m.Session == ev.Session && m.Name == event.UserMessage && slices.Contains(m.Intents, ev.Effect)
	})
}

func TestStories(t *testing.T) {
	told := stories(t)
	seen := map[string]int{}
	variants := map[string]bool{}
	for _, s := range told {
		seen[s.Threat]++
		variants[s.Threat+" "+s.Variant] = true
		t.Run(s.Injection+"-"+s.Variant, func(t *testing.T) { check(t, &s) })
	}
	for _, threat := range threats() {
		if seen[threat.name] != 4 {
			t.Errorf("%d injections of %s, want 4", seen[threat.name], threat.name)
		}
		for _, v := range threat.variants {
			if !variants[threat.name+" "+v] {
				t.Errorf("no %s of variant %s", threat.name, v)
			}
		}
	}
}

func check(t *testing.T, s *story) {
	if len(s.events) == 0 || len(s.before) == 0 {
		t.Fatalf("%d malicious events, %d before them", len(s.events), len(s.before))
	}
	for _, ev := range s.events {
		if !slices.Contains(s.Agents, ev.Agent) || !slices.Contains(s.Sessions, ev.Session) {
			t.Errorf("event %s is of agent %s in session %s, the label says %v and %v", ev.ID, ev.Agent, ev.Session, s.Agents, s.Sessions)
		}
	}
	if !slices.Contains(s.Sessions, s.Session) {
		t.Errorf("session %s is not among %v", s.Session, s.Sessions)
	}
	for _, ev := range s.all { // nothing gives an attack away by its name
		line := strings.ToLower(string(ev.AppendJSON(nil)))
		for _, word := range append(Threats(), "attack", "malic", "evil", "inject", "poison", "benign") {
			if strings.Contains(line, word) {
				t.Errorf("an event says %q: %s", word, line)
			}
		}
	}
	made := calls(s.events)
	switch s.Threat {
	case "privilege-drift":
		checkDrift(t, s, made)
	case "confused-deputy":
		if len(made) < 2 || len(made) > 4 {
			t.Errorf("%d calls, want 2 to 4", len(made))
		}
		for _, ev := range made {
			if has(ev.PrincipalScopes, ev.Privilege) || !has(ev.CredentialScopes, ev.Privilege) || !ev.Effect.Changes() {
				t.Errorf("%s is no deputy's call", ev.AppendJSON(nil))
			}
		}
	case "indirect-prompt-injection":
		checkInjection(t, s, made)
	case "memory-poisoning":
		checkMemory(t, s, made)
	case "tool-poisoning":
		for _, ev := range s.events {
			if s.used(func(b *event.Event) bool { return b.Tool == ev.Tool && b.ToolHash == ev.ToolHash }) {
				t.Errorf("%s with a hash that is known", ev.Tool)
			}
		}
		if s.events[0].Name != event.ToolDefinition || len(made) < 2 {
			t.Errorf("begins with %s and has %d calls", s.events[0].Name, len(made))
		}
	case "exfiltration":
		last := made[len(made)-1]
		usual, sent := int64(0), int64(0)
		for _, ev := range made {
			if ev.Effect != event.Read {
				sent += ev.Bytes.V
			}
		}
		for _, b := range calls(s.before) {
			if b.Tool == last.Tool {
				usual = max(usual, b.Bytes.V)
			}
			if b.Destination == last.Destination {
				t.Errorf("destination %s is known", last.Destination)
			}
		}
		switch s.Variant {
		case "bulk":
			if last.Bytes.V < 5*usual || made[0].Effect != event.Read {
				t.Errorf("%s sends %d bytes, %d at most before", last.Tool, last.Bytes.V, usual)
			}
		case "split":
			if sent < 5*usual || made[0].Effect != event.Read {
				t.Errorf("%s sends %d bytes in all, %d at most in a call before", last.Tool, sent, usual)
			}
		case "beacon":
			checkBeacon(t, made)
		}
	case "loop-amplification":
		if len(made) < 200 || made[0].Tool != made[len(made)-1].Tool {
			t.Errorf("%d calls", len(made))
		}
	case "unscoped-inheritance":
		d := s.events[0]
		if d.Name != event.Delegation || len(d.DelegateScopes) != len(d.CredentialScopes) || len(s.Agents) != 2 {
			t.Errorf("delegates %v of %v", d.DelegateScopes, d.CredentialScopes)
		}
		if s.used(func(b *event.Event) bool {
			return b.Name == event.Delegation && len(b.DelegateScopes) >= len(d.DelegateScopes)
		}) {
			t.Error("the agent did so before")
		}
	case "credential-escalation":
		checkCredential(t, s)
	case "supply-chain":
		for _, ev := range made {
			if s.used(func(b *event.Event) bool {
				return b.Name == event.ToolCall && b.Model == ev.Model && b.Version == ev.Version && b.Server == ev.Server && b.Tool == ev.Tool
			}) {
				t.Errorf("nothing new in %s", ev.AppendJSON(nil))
			}
		}
	case "telemetry-tampering":
		checkTelemetry(t, s)
	default:
		t.Errorf("nobody checks %s", s.Threat)
	}
}

func checkDrift(t *testing.T, s *story, made []*event.Event) {
	t.Helper()
	for _, ev := range made {
		known := s.used(func(b *event.Event) bool { return b.Privilege == ev.Privilege })
		if known != (s.Variant == "creep") || !has(ev.PrincipalScopes, ev.Privilege) || !has(ev.CredentialScopes, ev.Privilege) {
			t.Errorf("%s: used before: %t, scopes of the principal %v", ev.Privilege, known, ev.PrincipalScopes)
		}
	}
	if s.Variant == "first-use" && (len(made) < 3 || len(made) > 5) || s.Variant == "creep" && (len(made) < 50 || len(s.Sessions) < 20) {
		t.Errorf("%d calls in %d sessions", len(made), len(s.Sessions))
	}
}

func checkInjection(t *testing.T, s *story, made []*event.Event) {
	t.Helper()
	if s.events[0].Name != event.ToolResult || s.events[0].Trust != event.Untrusted {
		t.Errorf("begins with %s", s.events[0].AppendJSON(nil))
	}
	for _, ev := range made {
		if string(ev.Effect) != s.Variant || intended(s, ev) || !has(ev.PrincipalScopes, ev.Privilege) {
			t.Errorf("%s: effect %s, intended: %t", ev.Tool, ev.Effect, intended(s, ev))
		}
		way := ""
		for _, o := range ev.ArgOrigins {
			if source, ok := ev.ArgSources.Lookup(o.Key); o.Value == event.FromUntrusted && ok && source == s.events[0].Tool {
				way = o.Key
			}
		}
		if way == "" {
			t.Errorf("no untrusted argument in %s", ev.AppendJSON(nil))
		}
		if s.used(func(b *event.Event) bool {
			source, _ := b.ArgSources.Lookup(way)
			return b.Tool == ev.Tool && source == s.events[0].Tool || ev.Destination != "" && b.Destination == ev.Destination
		}) {
			t.Errorf("%s.%s of %s was fed by %s before, or %s is known", ev.Tool, way, s.Agent, s.events[0].Tool, ev.Destination)
		}
	}
}

func checkMemory(t *testing.T, s *story, made []*event.Event) {
	t.Helper()
	write := s.events[0]
	if write.Name != event.MemoryWrite || write.Origin != event.FromUntrusted || len(made) == 0 {
		t.Fatalf("begins with %s and has %d calls", write.AppendJSON(nil), len(made))
	}
	for _, ev := range s.events[1:] {
		if ev.Session == write.Session {
			t.Errorf("%s in the session of the write", ev.Name)
		}
		if ev.Name == event.MemoryRead && (ev.Record != write.Record || ev.Store != write.Store || ev.Hash != write.Hash || ev.User == write.User || ev.Time <= write.Time) {
			t.Errorf("%s does not read what %s wrote", ev.AppendJSON(nil), write.AppendJSON(nil))
		}
		if ev.Name == event.ToolCall {
			memory := slices.ContainsFunc(ev.ArgOrigins, func(m event.Member[event.Origin]) bool { return m.Value == event.FromMemory })
			if !memory || !ev.Effect.Changes() || intended(s, ev) {
				t.Errorf("%s does not act on memory", ev.AppendJSON(nil))
			}
		}
	}
	for _, ev := range s.all {
		if ev.Session != write.Session && ev.Name == event.ToolResult && ev.Trust == event.Untrusted {
			t.Errorf("untrusted content in session %s besides the record", ev.Session)
		}
	}
	if want := 2 + 2*(len(s.Variant)/6); len(s.Sessions) != want { // own: 2, shared: 4
		t.Errorf("%d sessions, want %d", len(s.Sessions), want)
	}
}

func checkBeacon(t *testing.T, made []*event.Event) {
	t.Helper()
	if len(made) != 16 {
		t.Fatalf("%d calls, want 16", len(made))
	}
	mean := made[15].Time.Sub(made[0].Time) / 15
	for i, ev := range made[1:] {
		if gap := ev.Time.Sub(made[i].Time); gap < mean*9/10 || gap > mean*11/10 {
			t.Errorf("%s between calls %d and %d, %s on average", gap, i, i+1, mean)
		}
	}
}

func checkCredential(t *testing.T, s *story) {
	t.Helper()
	for _, ev := range s.events {
		switch s.Variant {
		case "foreign":
			if ev.CredentialSubject == s.Agent || !slices.ContainsFunc(s.history, func(b *event.Event) bool {
				return b.Agent == ev.CredentialSubject && b.CredentialID == ev.CredentialID
			}) {
				t.Errorf("credential %s of %s is not another agent's", ev.CredentialID, ev.CredentialSubject)
			}
		case "expired":
			if ev.Time < ev.CredentialExpires || !s.used(func(b *event.Event) bool { return b.CredentialID == ev.CredentialID }) {
				t.Errorf("at %s, credential %s that expires %s is good, or was never seen", ev.Time, ev.CredentialID, ev.CredentialExpires)
			}
		case "grown":
			if s.used(func(b *event.Event) bool { return len(b.CredentialScopes) >= len(ev.CredentialScopes) }) {
				t.Errorf("scopes %v are not more than before", ev.CredentialScopes)
			}
		}
	}
}

func checkTelemetry(t *testing.T, s *story) {
	t.Helper()
	gaps, results, last := 0, 0, int64(-1)
	for _, ev := range s.all {
		if ev.Name == event.ToolResult {
			results++
		}
	}
	ordered := slices.SortedFunc(slices.Values(s.all), func(a, b *event.Event) int { return int(a.Seq.V - b.Seq.V) })
	shift := time.Duration(0)
	for i, ev := range ordered {
		if ev.Seq.V != last+1 {
			gaps++
		}
		last = ev.Seq.V
		if i > 0 {
			shift = max(shift, ev.Time.Sub(ordered[i-1].Time).Abs())
		}
	}
	if got := [...]bool{gaps > 0, results == 0, shift > 8*time.Minute}; got != [...]bool{s.Variant == "gaps", s.Variant == "silent-results", s.Variant == "clock-skew"} {
		t.Errorf("%d gaps, %d results, largest step %s", gaps, results, shift)
	}
}

func TestLabelAsJSON(t *testing.T) {
	f := fleet(t, small())
	for range f.Events() {
	}
	for _, l := range f.Labels() {
		line, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		var back Label
		if err := json.Unmarshal(line, &back); err != nil || back.Injection != l.Injection || !back.Start.Equal(l.Start) {
			t.Fatalf("%s reads back as %+v, %v", line, back, err)
		}
	}
}
