package detect

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestTrailsHoldTheirLevel lets agents send to destinations as often unasked as they
// do of themselves, for long, and counts those that are ever taken for a trail.
func TestTrailsHoldTheirLevel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, unasked := range []float64{0.02, 0.1, 0.5, 0.9} {
		const destinations, sessions, level = 20_000, 100, 5.0
		odd := 0
		for range destinations {
			var tr trail
			for i := range sessions {
				tr = tr.next(&event.Event{Session: fmt.Sprint(i)}, rng.Float64() >= unasked, unasked)
				if float64(tr.nats)/trailUnit >= level {
					odd++
					break
				}
			}
		}
		// Ville's inequality for one trail that begins at nothing, and the detector begins anew each session.
		if most := 0.0067 * sessions; float64(odd)/destinations > most {
			t.Errorf("at %g unasked, %.2g of destinations reach %g nats in %d sessions, want at most %.2g", unasked, float64(odd)/destinations, level, sessions, most)
		}
	}
}

func TestTrailCountsASessionOnce(t *testing.T) {
	var once, often trail
	for i := range 5 {
		ev := &event.Event{Session: fmt.Sprint(i), Bytes: event.Some(int64(100))}
		once = once.next(ev, false, 0.1)
		for range 7 {
			often = often.next(ev, false, 0.1)
		}
	}
	if once.nats != often.nats || often.sessions != 5 || often.bytes != 3500 {
		t.Errorf("seven calls a session leave %+v, one leaves %+v", often, once)
	}
}

func TestTrailOfWhatIsAlwaysUnasked(t *testing.T) {
	var tr trail
	for i := range 1000 {
		tr = tr.next(&event.Event{Session: fmt.Sprint(i)}, false, 1)
	}
	if tr.nats != 0 {
		t.Errorf("an agent that is never asked leaves a trail of %d/%d nats", tr.nats, trailUnit)
	}
}

func TestPace(t *testing.T) {
	var p pace
	p.today = 12
	if got := p.daily(); got != 12 {
		t.Errorf("the first day has %g, want 12", got)
	}
	for range 100 {
		p.today = 4
		p.close(1)
	}
	if got := p.daily(); got < 3.5 || got > 5 {
		t.Errorf("days of 4 are %g a day", got)
	}
	p.today = 500
	if got := p.daily(); got > 5 {
		t.Errorf("a flood makes it %g a day: what is odd may not excuse itself", got)
	}
	p.close(1_000_000)
	if got := p.daily(); got != 1 {
		t.Errorf("after a long time without any it is %g, want the least, 1", got)
	}
}
