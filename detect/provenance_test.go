package detect

import (
	"math"
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
