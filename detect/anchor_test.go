package detect

import (
	"fmt"
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

// TestADayThatStandsStillIsPaidFor has the days of an agent be as its fortnight was: the question is
// asked once of each that closes, whatever the answer.
func TestADayThatStandsStillIsPaidFor(t *testing.T) {
	e := New(DefaultRules())
	slot := SlowDrift{}.About().Slot
	risked := 0.0
	for day := range anchorDays + 5 {
		for text := range 50 {
			ev := event.Event{ID: fmt.Sprint(day, " ", text), Agent: "a", Name: event.ModelCall, OutputTokens: event.Some(int64(200)),
				Time: start + event.Timestamp((int64(day)*86400+int64(text)*100)*1e9)}
			if found := e.Observe(&ev, int64(day*50+text), event.Source{}); len(found) > 0 {
				t.Fatalf("day %d: found %+v of an agent that is as ever", day, found)
			}
			now := e.Stats().Risked[slot]
			if asked := text == 0 && day > anchorDays; asked != (now > risked) {
				t.Errorf("day %d, text %d: %v risked, and %v before; want more %t", day, text, now, risked, asked)
			}
			risked = now
		}
	}
}

// TestSlowDriftInForce has agents drift under the shipped rules, before the whole engine:
// its level is what the budget leaves on the day, not that of the long run.
func TestSlowDriftInForce(t *testing.T) {
	if testing.Short() {
		t.Skip("judges millions of events")
	}
	const agents, from = 50, 14
	for _, c := range []struct {
		drift       float64 // standard deviations a day, from day 14 on
		days        int     // from then
		least, most int     // agents found within ten days, or alarms where nothing drifts
	}{{.05, 14, 43, agents}, {0, 100, 0, 28}} { // half of the budget
		r := rand.New(rand.NewPCG(2, 1))
		var found []int // days from the beginning of the drift
		alarms, within := 0, 0
		for agent := range agents {
			e := New(DefaultRules())
			mood, known := 0.0, false
			for i := range int64(from+c.days) * 500 {
				day, text := int(i/500), i%500
				if text == 0 {
					mood = 0.5*mood + 0.07*math.Sqrt(1-0.25)*r.NormFloat64()
				}
				ev := event.Event{ID: fmt.Sprint(i), Agent: fmt.Sprint("writer-", agent), Session: fmt.Sprint(i / 25),
					Time: start + event.Timestamp((int64(day)*86400+text*100)*1e9), Name: event.ModelCall}
				ev.OutputTokens = event.Some(int64(math.Exp2(8 + 1.2*(r.NormFloat64()+mood+c.drift*float64(max(day-from, 0))))))
				for _, f := range e.Observe(&ev, i, event.Source{Topic: "raw", Offset: i}) {
					if f.Detector != (SlowDrift{}).About().Name {
						t.Errorf("found %+v, want nothing but the drift", f)
						continue
					}
					alarms++
					if !known {
						known, found = true, append(found, day-from)
					}
				}
			}
		}
		for _, d := range found {
			if d <= 10 {
				within++
			}
		}
		slices.Sort(found)
		t.Logf("drift of %.2f sd a day: %d alarms in %d agent-days, of %d of %d agents, after %v days", c.drift, alarms, agents*(from+c.days), len(found), agents, found)
		got := within
		if c.drift == 0 {
			got = alarms
		}
		if got < c.least || got > c.most {
			t.Errorf("drift of %.2f sd a day: %d, want %d to %d", c.drift, got, c.least, c.most)
		}
	}
}
