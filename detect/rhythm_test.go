package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestRestTail holds the tail of a rest against what it stands for: a Poisson process
// whose rate has a Gamma distribution.
func TestRestTail(t *testing.T) {
	for _, times := range []uint8{1, 2, 5, 12, timesMost} {
		for _, over := range []uint8{0, 1, 7, 60, overMost} {
			r := rhythm{times: times, over: over}
			rate := distuv.Gamma{Alpha: float64(times) + priorTimes - 1, Beta: float64(over) + priorOver}
			for _, rest := range []int{1, 5, 14, 40, 200} {
				// By quantiles of the rate, so that every part of it counts alike.
				want := quad.Fixed(func(u float64) float64 { return math.Exp(-rate.Quantile(u) * float64(rest)) }, 0, 1, 400, nil, 0)
				if got := r.tail(rest); math.Abs(got-want) > 1e-3+.02*want {
					t.Errorf("%d times over %d days: P(rest > %d) = %.5g, by integration %.5g", times, over, rest, got, want)
				}
			}
		}
	}
}

// TestRestsAreAsOddAsTheySay lets things be done at steady rates and counts the rests
// that are odd.
func TestRestsAreAsOddAsTheySay(t *testing.T) {
	const days = 2_000_000
	for _, every := range []float64{1.2, 2, 5, 20} {
		rng := rand.New(rand.NewPCG(1, uint64(every*10)))
		r := rhythm{what: 2, times: 1}
		odd, rests, base := 0, 0, 0
		for day := range days {
			if rng.Float64() >= 1/every {
				continue
			}
			if day-base > 60_000 { // days of a profile end after 179 years
				base, r.last = day-int(uint16(day-base)-r.last), 0
			}
			now := uint16(day - base)
			if rest := int(now) - int(r.last); r.times > 8 {
				rests++
				if rest >= leastRest && r.tail(rest) < oddRest {
					odd++
				}
			}
			r.learn(now)
		}
		t.Logf("about every %.1f days: %d of %d rests are odd", every, odd, rests)
		if float64(odd) > 5+2*oddRest*float64(rests) {
			t.Errorf("about every %.1f days: %d of %d rests are odd, want at most %.0f", every, odd, rests, 5+2*oddRest*float64(rests))
		}
	}
}

// TestHabitsAreNotPushedOut floods the rhythms with things that are done once.
func TestHabitsAreNotPushedOut(t *testing.T) {
	var p Rhythms
	for day := range uint16(60) {
		for thing := range uint16(rhythmSlots - 2) {
			p.learn(2+thing, day, false)
		}
		p.learn(1000+day, day, false)
		p.learn(2000+day, day, false)
	}
	for thing := range uint16(rhythmSlots - 2) {
		if r := p.find(2 + thing); r == nil || r.times < 20 {
			t.Errorf("thing %d, done daily: rhythm %+v", thing, r)
		}
	}
}

// TestDormantHoldsItsBudget lets agents do seldom things at rates that differ, change
// and pause, and counts findings, all of them false.
func TestDormantHoldsItsBudget(t *testing.T) {
	const agents, days = 60, 360
	rules := DefaultRules()
	share := 0.0
	for _, d := range rules.Detectors {
		if d.About().Name == "dormant" {
			share = d.Share * rules.Budget
		}
	}
	f := func(name string, most float64, does func(rng *rand.Rand, day int, every float64) bool) {
		t.Helper()
		rng := rand.New(rand.NewPCG(4, 5))
		e := New(rules)
		offset, found := int64(0), 0
		for a := range agents {
			var every [8]float64
			for i := range every {
				every[i] = math.Exp2(5 * rng.Float64()) // each day to once a month
			}
			for day := range days {
				if day%7 > 4 {
					continue
				}
				for i := range 24 {
					ev := use(fmt.Sprintf("agent-%d", a), 0)
					ev.Time = start + event.Timestamp(time.Duration(day)*24*time.Hour+time.Duration(i)*20*time.Minute)
					ev.ID, ev.Session = fmt.Sprint(offset), fmt.Sprint(a, "/", day, "/", i)
					ev.Tool, ev.Privilege, ev.Effect = "look", "crm:read", event.Read
					if i < len(every) && does(rng, day, every[i]) {
						ev.Tool, ev.Privilege, ev.Effect = "do", fmt.Sprintf("deed-%d:do", i), event.Share
					}
					for _, f := range e.Observe(ev, offset, event.Source{}) {
						if f.Detector == "dormant" {
							found++
						}
					}
					offset++
				}
			}
		}
		ratio := float64(found) / (agents * days) / share
		t.Logf("%-40s %3d false in %d agent-days, %.2f of its share", name, found, agents*days, ratio)
		if ratio > most {
			t.Errorf("%s: %.2f times its share, want at most %g", name, ratio, most)
		}
	}
	f("at steady rates", 1.1, func(rng *rand.Rand, _ int, every float64) bool { return rng.Float64() < 1/every })
	f("in spells of a month, then not for two", 5, func(rng *rand.Rand, day int, every float64) bool {
		return (day/30+int(every*100))%3 == 0 && rng.Float64() < 1/every
	})
	f("at rates that fade to a tenth", 2, func(rng *rand.Rand, day int, every float64) bool {
		return rng.Float64() < math.Pow(10, -float64(day)/days)/every
	})
}
