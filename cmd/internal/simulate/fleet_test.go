package simulate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// decode reads a line back, and checks that nothing of it is foreign to the schema.
func decode(t testing.TB, line string) *event.Event {
	t.Helper()
	var d event.Decoder
	ev := new(event.Event)
	if err := d.Decode([]byte(line), ev); err != nil {
		t.Fatalf("decode %s: %v", line, err)
	}
	if d.Unknown() != 0 {
		t.Fatalf("decode %s: %d unknown fields", line, d.Unknown())
	}
	return ev
}

// sessions returns the sessions that attacks wrote.
func sessions(labels []Label) map[string]bool {
	written := map[string]bool{}
	for _, l := range labels {
		for _, s := range l.Sessions {
			written[s] = true
		}
	}
	return written
}

func TestEventsAreGoodEvents(t *testing.T) {
	f := fleet(t, small())
	ids := map[string]bool{}
	check := func(line string) {
		ev := decode(t, line)
		if again := string(ev.AppendJSON(nil)); again != line {
			t.Fatalf("decoded and encoded again:\n%s\nwas\n%s", again, line)
		}
		if skew, err := ev.Admit(ev.Time.Time()); skew != 0 || err != nil {
			t.Fatalf("Admit(%s) = %s, %v", line, skew, err)
		}
		if len(ev.ID) != 26 || ids[ev.ID] {
			t.Fatalf("event id %q is not 26 characters, or not unique", ev.ID)
		}
		ids[ev.ID] = true
		switch ev.Name {
		case event.SessionStart, event.ToolCall:
			if ev.User == "" || len(ev.PrincipalScopes) == 0 || ev.CredentialID == "" || ev.CredentialIssuer == "" || ev.CredentialSubject == "" || len(ev.CredentialScopes) == 0 || ev.CredentialExpires == 0 {
				t.Fatalf("%s does not say who acts: %s", ev.Name, line)
			}
		}
		if ev.Name == event.ToolCall && (ev.Effect == "" || ev.Privilege == "" || ev.Resource == "" || ev.Sensitivity == "" || ev.CallID == "" ||
			len(ev.ArgKeys) == 0 || len(ev.ArgOrigins) != len(ev.ArgKeys) || len(ev.ArgHashes) != len(ev.ArgKeys)) {
			t.Fatalf("tool call is incomplete: %s", line)
		}
	}
	for _, line := range lines(f.Events()) {
		check(line)
	}
	for _, line := range lines(live(t, f, DefaultLiveConfig(small().Start.Add(3*day)))) {
		check(line)
	}
	names := map[event.Name]bool{}
	for ev := range f.Events() {
		names[ev.Name] = true
	}
	for _, name := range []event.Name{event.SessionStart, event.SessionEnd, event.UserMessage, event.ModelCall, event.ToolCall, event.ToolResult, event.AgentMessage,
		event.MemoryRead, event.MemoryWrite, event.Delegation, event.CredentialIssue, event.CredentialUse, event.ToolDefinition, event.ConfigChange, event.Heartbeat} {
		if !names[name] {
			t.Errorf("no %s in the history", name)
		}
	}
}

func TestOrderAndSequence(t *testing.T) {
	cfg := small()
	cfg.Threats = Threats()[:10] // all but telemetry tampering
	f := fleet(t, cfg)
	check := func(events []string) {
		t.Helper()
		next, ended := map[string]int64{}, map[string]bool{}
		last := event.Timestamp(0)
		for _, line := range events {
			ev := decode(t, line)
			if ev.Time < last {
				t.Fatalf("%s comes after %s", ev.Time, last)
			}
			last = ev.Time
			if ev.Session == "" {
				continue
			}
			if !ev.Seq.OK || ev.Seq.V != next[ev.Session] || ended[ev.Session] {
				t.Fatalf("sequence number %d of session %s, want %d (ended: %t)", ev.Seq.V, ev.Session, next[ev.Session], ended[ev.Session])
			}
			next[ev.Session]++
			ended[ev.Session] = ev.Name == event.SessionEnd
		}
		for s := range next {
			if !ended[s] {
				t.Errorf("session %s has no end", s)
			}
		}
	}
	history := lines(f.Events())
	check(history)
	phase := DefaultLiveConfig(cfg.Start.Add(3 * day))
	phase.Threats = cfg.Threats
	check(lines(live(t, f, phase)))
	if end := decode(t, history[len(history)-1]).Time.Time(); end.After(cfg.Start.Add(3 * day)) {
		t.Errorf("the history goes on until %s", end)
	}
}

func TestDisorder(t *testing.T) {
	cfg := small()
	straight := map[string]string{}
	n := 0
	for _, line := range lines(fleet(t, cfg).Events()) {
		straight[decode(t, line).ID] = line
		n++
	}
	cfg.Disorder = 0.03
	seen := map[string]int{}
	newest, late, twice := event.Timestamp(0), 0, 0
	for _, line := range lines(fleet(t, cfg).Events()) {
		ev := decode(t, line)
		if straight[ev.ID] != line {
			t.Fatalf("an event changed on its way:\n%s\nwas\n%s", line, straight[ev.ID])
		}
		if seen[ev.ID]++; seen[ev.ID] > 1 {
			twice++
			continue
		}
		if newest.Sub(ev.Time) > 0 {
			late++
		}
		newest = max(newest, ev.Time)
	}
	if len(seen) != n {
		t.Errorf("%d events arrived of %d", len(seen), n)
	}
	if share := float64(late) / float64(n); share < 0.015 || share > 0.06 {
		t.Errorf("%.3f of the events arrive late, want about 0.03", share)
	}
	if share := float64(twice) / float64(n); share < 0.0003 || share > 0.003 {
		t.Errorf("%.4f of the events arrive twice, want about 0.001", share)
	}
}

// What makes naive detectors cry wolf is there, and not more of it than there should be.
func TestHabits(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Agents, cfg.Threats = 160, nil
	f := fleet(t, cfg)
	f1 := func(what string, got, least, most float64) {
		t.Helper()
		if got < least || got > most {
			t.Errorf("%s: %.3f, want %.3f to %.3f", what, got, least, most)
		}
	}
	type session struct {
		role               string
		events             int
		untrusted, flowing bool
	}
	type use struct{ agent, privilege string }
	all := map[string]*session{}
	used := map[use]bool{}
	agents := map[string]bool{}
	events, firsts, grave, unentitled, calls := 0, 0, 0, 0, 0
	writes, foreign, office, night := 0, 0, 0, 0
	for ev := range f.Events() {
		events++
		agents[ev.Agent] = true
		if ev.Session == "" {
			continue
		}
		s := all[ev.Session]
		if s == nil {
			s = &session{role: ev.Role}
			all[ev.Session] = s
		}
		s.events++
		switch ev.Name {
		case event.SessionStart:
			if ev.Role == "hr" && ev.Tenant == "tenant-1" {
				office++
				if h := (ev.Time.Time().Hour() + 1) % 24; h < 6 || h > 20 {
					night++
				}
			}
		case event.ToolResult:
			s.untrusted = s.untrusted || ev.Trust == event.Untrusted
		case event.MemoryWrite:
			writes++
			if ev.Origin == event.FromUntrusted {
				foreign++
			}
		case event.ToolCall:
			calls++
			for _, o := range ev.ArgOrigins {
				s.flowing = s.flowing || ev.Effect.Changes() && o.Value == event.FromUntrusted
			}
			if !has(ev.PrincipalScopes, ev.Privilege) {
				unentitled++
				if ev.Effect.Changes() || ev.Sensitivity == event.Restricted {
					grave++
				}
			}
			if u := (use{ev.Agent, ev.Privilege}); !used[u] {
				used[use{string([]byte(u.agent)), string([]byte(u.privilege))}] = true
				if ev.Time.Time().Sub(cfg.Start) > 14*day {
					firsts++
				}
			}
		}
	}
	reading := map[string]bool{"support-desk": true, "sales-crm": true, "coding": true, "research": true, "hr": true, "finance-ops": true}
	var total, length, untrusted, flowing float64
	var readers float64
	for _, s := range all {
		total++
		length += float64(s.events)
		if !reading[s.role] {
			continue
		}
		readers++
		if s.untrusted {
			untrusted++
			if s.flowing {
				flowing++
			}
		}
	}
	f1("events per agent and day", float64(events)/float64(cfg.Agents)/cfg.Days, 0.9*cfg.Rate, 1.1*cfg.Rate)
	f1("events per session", length/total, 12, 22)
	f1("sessions of reading roles with untrusted content", untrusted/readers, 0.35, 0.45)
	f1("of those, with an effect on an untrusted argument", flowing/untrusted, 0.25, 0.40)
	f1("first uses of a privilege per agent and 30 days, after a fortnight", float64(firsts)/float64(len(agents))*30/14, 0.5, 1.5)
	f1("memory writes from untrusted content", float64(foreign)/float64(writes), 0.015, 0.045)
	f1("calls outside the principal's scopes", float64(unentitled)/float64(calls), 0.0005, 0.03)
	f1("of those, with an effect or restricted", float64(grave), 0, 0)
	f1("office sessions by night", float64(night)/float64(office), 0, 0.05)
}

func has(scopes []string, scope string) bool {
	for _, s := range scopes {
		if s == scope {
			return true
		}
	}
	return false
}

func TestLive(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Agents, cfg.Days, cfg.Threats = 200, 7, nil
	from := time.Date(2026, 1, 12, 22, 30, 0, 0, time.UTC)
	cfg.Start, cfg.Clock = from.Add(-7*day), WorkdayAt(from)
	f := fleet(t, cfg)
	agents := map[string]bool{}
	for ev := range f.Events() {
		agents[ev.Agent] = true
	}
	phase := DefaultLiveConfig(from)
	phase.Injections = 2
	n, benign, busy := 0, map[string]bool{}, map[string]bool{}
	ahead := 0
	events := lines(live(t, f, phase))
	labels := f.Labels()
	written := sessions(labels)
	for _, line := range events {
		ev := decode(t, line)
		n++
		if ev.Time < event.At(from) && !written[ev.Session] {
			t.Fatalf("an event before the phase begins: %s", line)
		}
		if !agents[ev.Agent] && ev.Parent == "" {
			t.Errorf("agent %s was not there before", ev.Agent)
		}
		if ev.Time > event.At(from.Add(phase.Duration)) && !written[ev.Session] {
			ahead++
		}
		if ev.Session != "" && !written[ev.Session] {
			benign[ev.Session] = true
			busy[ev.Agent] = true
		}
	}
	if len(benign) < 180 || len(busy) < 150 {
		t.Errorf("%d benign sessions of %d agents, want about 200 of most", len(benign), len(busy))
	}
	if share := float64(ahead) / float64(n); share > 0.02 {
		t.Errorf("%.3f of %d events lie behind the end", share, n)
	}
	count, attacked := map[string]int{}, map[string]bool{}
	for _, l := range labels {
		count[l.Threat]++
		attacked[l.Agent] = true
		if since := l.Start.Sub(from); since < 0 || since > phase.Duration {
			t.Errorf("%s begins %s into the phase of %s", l.Injection, since, phase.Duration)
		}
	}
	want := map[string]int{}
	for _, name := range Threats() {
		want[name] = 2
	}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("injections by threat (-want +got):\n%s", diff)
	}
	if len(attacked) != len(labels) {
		t.Errorf("%d attacks on %d agents, want one each", len(labels), len(attacked))
	}
}
