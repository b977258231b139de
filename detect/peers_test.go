package detect

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// errand is a session of an agent: the user asks for mail, the agent reads one
// and answers it, to the address in it.
func errand(agent string, i int) []*event.Event {
	at := start + event.Timestamp(i)*3600e9
	session := fmt.Sprintf("%s-%d", agent, i)
	ev := func(n int, name event.Name) *event.Event {
		return &event.Event{Time: at + event.Timestamp(n)*1e9, Name: name, Agent: agent, Role: "clerk", Session: session, ID: fmt.Sprintf("%s.%d", session, n)}
	}
	asks, result, call := ev(0, event.UserMessage), ev(1, event.ToolResult), ev(2, event.ToolCall)
	asks.Intents = []event.Effect{event.Send}
	result.Tool, result.Trust = "read_mail", event.Untrusted
	call.Tool, call.Effect = "send_mail", event.Send
	call.ArgOrigins = event.Object[event.Origin]{{Key: "to", Value: event.FromUntrusted}, {Key: "body", Value: event.FromUser}}
	call.ArgSources = event.Object[string]{{Key: "to", Value: "read_mail"}}
	call.ArgHashes = event.Object[[]string]{{Key: "to", Value: []string{fmt.Sprint(i % 40)}}}
	return []*event.Event{asks, result, call}
}

// hijack is an errand that ends in a transfer which nobody asked for.
func hijack(agent string, i int) []*event.Event {
	events := errand(agent, i)
	call := events[2]
	call.Tool, call.Effect = "transfer", event.Money
	call.ArgOrigins = event.Object[event.Origin]{{Key: "iban", Value: event.FromUntrusted}}
	call.ArgSources = event.Object[string]{{Key: "iban", Value: "read_mail"}}
	call.ArgHashes = event.Object[[]string]{{Key: "iban", Value: []string{"attacker"}}}
	return events
}

// censused returns an engine that knows the peers of five clerks.
func censused(t *testing.T) (*Engine, func([]*event.Event) []Finding) {
	t.Helper()
	e := New(DefaultRules())
	offset := int64(0)
	send := func(events []*event.Event) (found []Finding) {
		for _, ev := range events {
			found = append(found, e.Observe(ev, offset, event.Source{})...)
			offset++
		}
		return found
	}
	c := NewCensus()
	e.Count(c)
	for i := range 200 {
		send(errand(fmt.Sprintf("clerk-%d", i%5), i))
	}
	e.Count(nil)
	e.UsePeers(c.Peers("p1", DefaultRules()))
	return e, send
}

func TestPeersJudgeANewAgent(t *testing.T) {
	_, send := censused(t)
	if found := send(errand("new", 300)); len(found) > 0 {
		t.Errorf("a new agent that works as its peers do: %+v", found)
	}
	found := send(hijack("new", 301))
	if len(found) != 1 || found[0].Detector != "provenance" || found[0].Rules != "default+p1" {
		t.Fatalf("findings %+v, want one of provenance under default+p1", found)
	}
	if diff := cmp.Diff([]string{"new-301.1", "new-301.2"}, found[0].Evidence); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	if want := "new called transfer in a way its peers do not"; found[0].Reason != want {
		t.Errorf("reason %q, want %q", found[0].Reason, want)
	}
	if again := send(hijack("new", 301)[2:]); len(again) > 0 {
		t.Errorf("the same event again: %+v", again)
	}
}

func TestPeersOfAnotherRoleSayNothing(t *testing.T) {
	e, send := censused(t)
	events := hijack("stranger", 400)
	for _, ev := range events {
		ev.Role = "another"
	}
	if got := e.Evidence(events[2]); got != 0 {
		t.Errorf("evidence %v against peers that are not known, want 0", got)
	}
	if found := send(events); len(found) > 0 {
		t.Errorf("findings against peers that are not known: %+v", found)
	}
}

// TestANewRoleIsHeldAgainstAll lets three roles be known, each with tools of its own,
// and a fourth one come: its tools are as new as its agents.
func TestANewRoleIsHeldAgainstAll(t *testing.T) {
	e, c := New(DefaultRules()), NewCensus()
	e.Count(c)
	offset := int64(0)
	send := func(role string, events []*event.Event) (found []Finding) {
		for _, ev := range events {
			ev.Role = role
			if ev.Tool != "" {
				ev.Tool = role + "_" + ev.Tool
			}
			for i := range ev.ArgSources {
				ev.ArgSources[i].Value = role + "_" + ev.ArgSources[i].Value
			}
			found = append(found, e.Observe(ev, offset, event.Source{})...)
			offset++
		}
		return found
	}
	for i := range 300 {
		role := []string{"clerk", "scribe", "buyer"}[i%3]
		send(role, errand(fmt.Sprintf("%s-%d", role, i%5), i))
	}
	peers := c.Peers("p1", DefaultRules())
	e.Count(nil)
	e.UsePeers(peers)
	if all := peers.Groups[everybody]; all == nil || all.Roles != 3 || all.Sessions != 300 {
		t.Fatalf("the group of all is %+v, want three roles and 300 sessions", all)
	}
	if found := send("stranger", errand("new", 400)); len(found) > 0 {
		t.Errorf("a new role that works as the others do: %+v", found)
	}
	if found := send("stranger", hijack("new", 401)); len(found) != 1 || found[0].Detector != "provenance" {
		t.Errorf("a new role that is hijacked: %+v, want one finding of provenance", found)
	}
}

// TestTenantsAreHeldAgainstTheirOwn shows the order in which a group is looked for.
func TestTenantsAreHeldAgainstTheirOwn(t *testing.T) {
	role, tenant, all := &Group{}, &Group{}, &Group{}
	p := &Peers{Groups: map[string]*Group{"clerk\x00acme": role, "\x00acme": tenant, everybody: all}}
	f := func(name, of string, want *Group) {
		t.Helper()
		if got := p.of(View{&sight{Event: &event.Event{Role: name, Tenant: of}, Profile: &Profile{}}}); got != want {
			t.Errorf("%s of %s has another group than it should", name, of)
		}
	}
	f("clerk", "acme", role)
	f("scribe", "acme", tenant)
	f("clerk", "other", all)
	f("", "", all)
}

func TestPeersSurviveEncoding(t *testing.T) {
	e, _ := censused(t)
	b, err := json.Marshal(e.peers)
	if err != nil {
		t.Fatal(err)
	}
	var back Peers
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	ev := hijack("new", 1)[2]
	want := e.Evidence(ev)
	e.UsePeers(&back)
	if got := e.Evidence(ev); got != want || want <= 0 {
		t.Errorf("evidence %v after encoding, %v before; want the same, above 0", got, want)
	}
}

// TestEvidence changes one thing at a time: what differs from the peers has more
// evidence against it.
func TestEvidence(t *testing.T) {
	e, send := censused(t)
	send(errand("new", 1)[:1]) // what the user asks for
	usual := e.Evidence(errand("new", 1)[2])
	f := func(name string, change func(*event.Event)) {
		t.Helper()
		ev := errand("new", 1)[2]
		change(ev)
		if got := e.Evidence(ev); got <= usual {
			t.Errorf("%s: evidence %.2f, usual %.2f; want more", name, got, usual)
		}
	}
	f("value new to the group", func(ev *event.Event) { ev.ArgHashes[0].Value = []string{"never seen"} })
	f("no argument in the user's words", func(ev *event.Event) { ev.ArgOrigins[1].Value = event.FromModel })
	f("source that never feeds the argument", func(ev *event.Event) { ev.ArgSources[0].Value = "read_web" })
	f("tool that is never used", func(ev *event.Event) { ev.Tool = "post_web" })
	f("effect nobody asked for", func(ev *event.Event) { ev.Effect = event.Delete })
	f("address fetched that nobody fetches", func(ev *event.Event) { ev.Tool, ev.Effect = "read_web", event.Fetch })

	ev := errand("new", 1)[2]
	before := e.Evidence(ev)
	asked := errand("new", 1)[1]
	asked.ID, asked.Name, asked.Tool, asked.Effect = "asked", event.ToolCall, "read_mail", event.Read
	asked.ArgOrigins = event.Object[event.Origin]{{Key: "from", Value: event.FromUser}}
	send([]*event.Event{asked})
	if got := e.Evidence(ev); got >= before {
		t.Errorf("the source was called in the user's words: evidence %.2f, %.2f before; want less", got, before)
	}
	ev.Name = event.ToolResult
	if got := e.Evidence(ev); got != 0 {
		t.Errorf("evidence %.2f of what is no call, want 0", got)
	}
}

// TestEvidenceOfWishes lets the same call come where the user asked for what peers are
// asked for, for more than that, for something else, and for nothing.
func TestEvidenceOfWishes(t *testing.T) {
	e, send := censused(t)
	least := 0.0
	for i, wishes := range [][]event.Effect{{event.Send}, {event.Send, event.Money}, {event.Money}, nil} {
		events := errand("new", 500+i)
		events[0].Intents = wishes
		send(events[:2])
		got := e.Evidence(events[2])
		if got <= least {
			t.Errorf("the user asked for %v: evidence %.2f, want more than %.2f", wishes, got, least)
		}
		least = got
	}
}

func TestTheSameCallAgainAddsNothing(t *testing.T) {
	s := Session{}
	for _, x := range []float64{8, 4, 8, 4, 8} {
		s.surprises = s.with(x)
	}
	if got := s.against(8); got != 9 {
		t.Errorf("evidence %v of calls of 8 and 4, each again and again; want 8 + 4/4", got)
	}
}

func TestPeersOfAnotherFormatAreRefused(t *testing.T) {
	e, _ := censused(t)
	if err := e.peers.Validate(); err != nil {
		t.Error(err)
	}
	e.peers.Format--
	if err := e.peers.Validate(); err == nil || !strings.Contains(err.Error(), "format: is 4, this build reads 5") {
		t.Errorf("error %v, want that the format is another", err)
	}
}

// TestTheTailKnowsWhatWasFound lets a census see sessions in which something was
// found: as many as the budget allows are clean ones, and the oddest; more are attacks.
func TestTheTailKnowsWhatWasFound(t *testing.T) {
	f := func(found, want int) {
		t.Helper()
		g := &Group{Days: 300, seen: exams{at: map[uint64]int{}}}
		for i := range 200 {
			g.seen.take(uint64(i), 1, true)
			if i%100 < found {
				g.seen.take(uint64(i), float64(50+i%100), false)
			}
		}
		odd := 0
		for _, x := range g.later(0.01) {
			if x > 50+3 {
				t.Errorf("%d found: one with evidence %.0f is taken for clean, want those with the least", found, x)
			}
			if x >= 50 {
				odd++
			}
		}
		if odd != want {
			t.Errorf("%d sessions in which something was found, three of which the budget allows: %d taken for clean, want %d", found, odd, want)
		}
	}
	f(0, 0)
	f(2, 2)
	f(30, 3)
}

// TestAHeartbeatIsNoSession holds the evidence that is usual against sessions alone.
func TestAHeartbeatIsNoSession(t *testing.T) {
	g := newGroup()
	beat := &event.Event{Name: event.Heartbeat, Agent: "a", ID: "1", Time: start}
	call := errand("a", 1)[2]
	call.Session = ""
	for _, ev := range []*event.Event{beat, call} {
		(&Census{}).exam(g, nil, View{&sight{Event: ev, Profile: &Profile{}, Session: &Session{}}}, false, true, 0)
	}
	if n := len(g.seen.sessions); n != 1 {
		t.Errorf("%d sessions of a heartbeat and a call outside of sessions, want the call alone", n)
	}
}

// TestTooFewSessionsMakeNoPeers shows that a census that cannot tell how clean
// sessions look leaves agents to their own past.
func TestTooFewSessionsMakeNoPeers(t *testing.T) {
	e, c := New(DefaultRules()), NewCensus()
	e.Count(c)
	offset := int64(0)
	for i := range 40 {
		for _, ev := range errand("clerk", i) {
			e.Observe(ev, offset, event.Source{})
			offset++
		}
	}
	if p := c.Peers("p", DefaultRules()); len(p.Groups) > 0 || p.Validate() != nil {
		t.Errorf("peers %v of forty sessions, error %v; want none", p.Groups, p.Validate())
	}
}

func TestEvidenceAllocatesNothing(t *testing.T) {
	e, _ := censused(t)
	ev := hijack("new", 1)[2]
	ev.Agent = "clerk-0"
	if n := testing.AllocsPerRun(100, func() { e.Evidence(ev) }); n > 0 {
		t.Errorf("%v allocations for a call held against peers, want none", n)
	}
}

func BenchmarkEvidence(b *testing.B) {
	e, c := New(DefaultRules()), NewCensus()
	e.Count(c)
	offset := int64(0)
	for i := range 200 {
		for _, ev := range errand(fmt.Sprintf("clerk-%d", i%5), i) {
			e.Observe(ev, offset, event.Source{})
			offset++
		}
	}
	e.UsePeers(c.Peers("p", DefaultRules()))
	ev := hijack("clerk-0", 1)[2]
	b.ReportAllocs()
	for b.Loop() {
		e.Evidence(ev)
	}
}

// TestTheBarKnowsHowOftenSessionsCome takes a census of the same sessions, a day apart
// for each agent, once of many agents for two days and once of few for weeks: the first
// session of an agent comes after no day.
func TestTheBarKnowsHowOftenSessionsCome(t *testing.T) {
	bar := func(agents int) float64 {
		e, c := New(DefaultRules()), NewCensus()
		e.Count(c)
		for i := range 80 {
			for n, ev := range errand(fmt.Sprintf("clerk-%d", i%agents), i) {
				ev.Time += event.Timestamp(i/agents*24-i) * 3600e9
				e.Observe(ev, int64(3*i+n), event.Source{})
			}
		}
		return c.Peers("p", DefaultRules()).Groups["clerk\x00"].Bar
	}
	if many, few := bar(40), bar(4); math.Abs(many-few) > 0.01*few {
		t.Errorf("bar %.3f of forty agents for two days, %.3f of four for twenty; want the same", many, few)
	}
}
