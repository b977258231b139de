package detect

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestTwoLooksArePaidFor asks of a flow that is new to an agent, which its peers find
// nothing in, or everything, of agents that surprise more or less.
func TestTwoLooksArePaidFor(t *testing.T) {
	d := Provenance{Prior{A: .05, B: 45}}
	const byPeers = .002
	f := func(name string, days float64, surprises, bar float32, own, wantOdd bool) {
		t.Helper()
		p := Profile{vouched: days > 0, days: float32(days), first: instantOf(start), last: instantOf(start + event.Timestamp(days*float64(24*time.Hour)))}
		p.novelties[flows].surprises = surprises
		v := View{&sight{Event: &event.Event{}, Profile: &p, Session: &Session{}, Peers: &Group{Rate: byPeers, Bar: float64(bar)}, Surprise: 5, Evidence: 5}}
		v.occasions = [kinds]occasion{flows: {trial: true, odd: true, item: 1}}
		want := byPeers
		if own {
			want += (float64(surprises) + .05) / (days + 45)
		}
		if got := d.Judge(v); math.Abs(got.Rate-want) > 1e-9 || got.Odd != wantOdd {
			t.Errorf("%s: %+v, want a rate of %.5f, odd %t", name, got, want, wantOdd)
		}
	}
	f("odd to itself alone", 30, 0, 10, true, true)
	f("odd to its peers too", 30, 0, 3, true, true)
	f("often odd to itself", 30, 2, 10, false, false)
	f("often odd to itself, and odd to its peers", 30, 2, 3, false, true)
	f("not known yet", 0, 0, 10, false, false)
	f("not known yet, and odd to its peers", 0, 0, 3, false, true)
}

// TestWhoeverWasPaidIsKnown has an agent pay, delete at and grant to where it always does, by a
// flow of its own that is new: once as the user asked, with untrusted values, and once unasked, with
// those of the model. Only where the destination is new as well is that odd.
func TestWhoeverWasPaidIsKnown(t *testing.T) {
	for _, effect := range []event.Effect{event.Send, event.Money, event.Delete, event.Auth} {
		for _, tt := range []struct {
			origin event.Origin
			asked  event.Effect
		}{{event.FromUntrusted, effect}, {event.FromModel, event.Read}} {
			for _, to := range []string{"office.example", "elsewhere.example"} {
				e := New(DefaultRules())
				call := func(i int, to string, origin event.Origin) []Finding {
					ev := &event.Event{Time: hourly(i), Name: event.ToolCall, Agent: "a", ID: fmt.Sprint(i), Session: fmt.Sprint("s", i),
						Tool: "act", Effect: effect, Destination: to, ArgOrigins: event.Object[event.Origin]{{Key: "to", Value: origin}}}
					return e.Observe(ev, int64(2*i+1), event.Source{})
				}
				const known = 300
				for i := range known {
					call(i, "office.example", event.FromUser)
				}
				e.Observe(&event.Event{Time: hourly(known), Name: event.UserMessage, Agent: "a", ID: "wish", Session: fmt.Sprint("s", known),
					Trust: event.Trusted, Intents: []event.Effect{tt.asked}}, 2*known, event.Source{})
				found := call(known, to, tt.origin)
				if got, want := len(found) > 0, to != "office.example"; got != want {
					t.Errorf("%s to %s with a value from %s, where the user asked to %s: %+v; want a finding %t", effect, to, tt.origin, tt.asked, found, want)
				}
			}
		}
	}
}

// TestNamelessArgumentHidesNothing has a model that was told to add an argument without a name to
// a call, from wherever the other one is.
func TestNamelessArgumentHidesNothing(t *testing.T) {
	for _, origin := range []event.Origin{event.FromUntrusted, event.FromMemory} {
		e := grown(t, 400)
		e.Observe(&event.Event{Time: hourly(400), Name: event.UserMessage, Agent: "a", ID: "wish", Session: "one",
			Trust: event.Trusted, Intents: []event.Effect{event.Read}}, 400, event.Source{})
		ev := use("a", 405)
		ev.Time, ev.Session, ev.Effect, ev.Destination = hourly(401), "one", event.Delete, ""
		ev.ArgOrigins = event.Object[event.Origin]{{Key: "path", Value: origin}, {Key: "", Value: origin}}
		found := e.Observe(ev, 401, event.Source{})
		if !slices.ContainsFunc(found, func(f Finding) bool { return f.Detector == "provenance" }) {
			t.Errorf("from %s: found %+v, want what provenance finds", origin, found)
		}
	}
}
