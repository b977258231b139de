package detect

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// volumeSeeds is how many fleets of each kind are drawn: one may be lucky.
var volumeSeeds = flag.Uint64("volumes", 2, "seeds of each distribution of volumes")

// TestVolumesHoldTheirBudget lets benign agents send and spend in ways that the
// models do not suppose, and counts findings, all of them false.
func TestVolumesHoldTheirBudget(t *testing.T) {
	const agents, days = 100, 40
	share := map[string]float64{}
	rules := DefaultRules()
	for _, d := range rules.Detectors {
		share[d.About().Name] = d.Share * rules.Budget
	}
	f := func(name string, spends float64, bits func(*rand.Rand) float64) {
		t.Helper()
		found := map[string]int{}
		for seed := range *volumeSeeds {
			rng := rand.New(rand.NewPCG(1+seed, 2))
			volumesOf(rules, rng, agents, days, func() float64 { return bits(rng) }, found)
		}
		all := float64(agents * days * *volumeSeeds)
		for _, detector := range []string{"exfiltration", "amplification", "beacon"} {
			ratio := float64(found[detector]) / all / share[detector]
			t.Logf("%-28s %-14s %3d false in %.0f agent-days, %.2f of its share", name, detector, found[detector], all, ratio)
			most := 1.3
			if detector == "amplification" {
				most = spends
			}
			if ratio > most {
				t.Errorf("%s: %s makes %.1f times as many false findings as its share, want at most %g", name, detector, ratio, most)
			}
		}
	}
	f("log-normal", 1.3, func(rng *rand.Rand) float64 { return rng.NormFloat64() })
	// What goes out is held against tails of every kind. Of what is spent, an agent with
	// tails that its model does not suppose is believed after a finding or two.
	const believed = 60
	f("log-t with three degrees", believed, func(rng *rand.Rand) float64 { return distuv.StudentsT{Sigma: 0.7, Nu: 3, Src: rng}.Rand() })
	f("log-Pareto, 1.5", believed, func(rng *rand.Rand) float64 { return math.Pow(1-rng.Float64(), -1/1.5) })
	f("t with three degrees", believed, func(rng *rand.Rand) float64 {
		return math.Log2(1 + math.Abs(distuv.StudentsT{Sigma: 1, Nu: 3, Src: rng}.Rand()))
	})
	f("Pareto, 1.5", believed, func(rng *rand.Rand) float64 { return -math.Log2(1-rng.Float64()) / 1.5 })
	f("two sizes, one of them rare", 20, func(rng *rand.Rand) float64 {
		if rng.IntN(30) == 0 {
			return 9 + 0.5*rng.NormFloat64()
		}
		return 0.5 * rng.NormFloat64()
	})
}

// volumesOf lets so many agents mail and think each hour of so many days, in sizes that differ by
// so many bits from what is usual of each, and counts findings by detector.
func volumesOf(rules Rules, rng *rand.Rand, agents, days int, bits func() float64, found map[string]int) {
	const perDay = 24
	e := New(rules)
	offset := int64(0)
	for a := range agents {
		usual := 10 + 4*rng.Float64()
		for i := range days * perDay {
			ev := use(fmt.Sprintf("agent-%d", a), 5*i) // a mail
			ev.Time = start + event.Timestamp(i)*event.Timestamp(24*time.Hour/perDay) + event.Timestamp(rng.Int64N(int64(50*time.Minute)))
			ev.Session, ev.Sensitivity = fmt.Sprintf("s%d", i/3), event.Confidential
			ev.Bytes = event.Some(int64(math.Exp2(math.Min(usual+bits(), 45))))
			ev.Destination = fmt.Sprint("to-", int(8*rng.ExpFloat64()))
			thought := &event.Event{Time: ev.Time - 1, Name: event.ModelCall, Agent: ev.Agent, ID: fmt.Sprint("m", offset), Session: ev.Session,
				InputTokens: event.Some(int64(math.Exp2(math.Min(usual+2+bits(), 45))))}
			for _, ev := range []*event.Event{thought, ev} {
				for _, f := range e.Observe(ev, offset, event.Source{}) {
					found[f.Detector]++
				}
				offset++
			}
		}
	}
}
