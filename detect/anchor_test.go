package detect

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// drifting simulates days of agents whose model writes texts of log-normal size,
// with the mood of a day (AR(1), standard deviation .07 of a text's), which from
// day 14 on become larger by drift standard deviations a day. It returns the days
// from then to each agent's alarm, -1 for none within the given days.
func drifting(seed uint64, agents, days int, drift float64) (delays []int) {
	const (
		perDay = 500
		sd     = 1.2 // of log2 of a size
		from   = 14
		level  = 3e-4 // at which the shipped rules ask once a day, in the long run
	)
	r := rand.New(rand.NewPCG(seed, 1))
	for range agents {
		var a Anchors
		mood, delay := 0.0, -1
		for day := 0; day < from+days && delay < 0; day++ {
			mood = 0.5*mood + 0.07*math.Sqrt(1-0.25)*r.NormFloat64()
			shift := drift * float64(max(day-from, 0))
			for i := range perDay {
				ev := event.Event{Time: start + event.Timestamp((day*86400+i*100)*1e9), Name: event.ModelCall}
				y := 8 + sd*(r.NormFloat64()+mood+shift)
				ev.OutputTokens = event.Some(int64(math.Exp2(y)))
				p, _ := a.test(ev.Time)
				if p <= level {
					delay = day - from
				}
				a.learn(&ev)
			}
		}
		delays = append(delays, delay)
	}
	return delays
}

// TestSlowDrift holds the figures that DETECTION.md quotes.
func TestSlowDrift(t *testing.T) {
	const agents, days = 100, 100
	for _, c := range []struct {
		drift  float64 // standard deviations a day
		within int     // days, in which
		least  int     // of a hundred agents are found
		most   int
	}{{0, days, 0, 8}, {.02, days, 98, 100}, {.05, 10, 90, 100}, {.1, 8, 95, 100}, {.5, 4, 95, 100}} {
		var found []int
		within := 0
		for _, d := range drifting(1, agents, days, c.drift) {
			if d < 0 {
				continue
			}
			found = append(found, d)
			if d <= c.within {
				within++
			}
		}
		slices.Sort(found)
		median, worst := 0, 0
		if n := len(found); n > 0 {
			median, worst = found[n/2], found[n-1]
		}
		t.Logf("drift of %.2f sd a day: found %d of %d, %d within %d days, median %d, worst %d", c.drift, len(found), agents, within, c.within, median, worst)
		if within < c.least || within > c.most {
			t.Errorf("drift of %.2f sd a day: %d of %d found within %d days, want %d to %d", c.drift, within, agents, c.within, c.least, c.most)
		}
	}
}
