package backtest

import (
	"flag"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// fleets is how many fleets are replayed: one shows what is broken, many tell how far
// each detector is right.
var (
	fleets = flag.Int("fleets", 1, "simulated fleets in the replay without attacks")
	seed   = flag.Uint64("seed", 1001, "of the first of them")
)

// clean yields the events of a fleet without attacks, of which every other agent is
// new after the first days.
func clean(t *testing.T, seed uint64, start time.Time, days, first int) iter.Seq[*event.Event] {
	t.Helper()
	fleet, err := simulate.New(simulate.Config{Agents: 120, Tenants: 2, Days: float64(days), Rate: 120, Seed: seed, Start: start})
	if err != nil {
		t.Fatal(err)
	}
	begin := event.Timestamp(start.Add(time.Duration(first) * 24 * time.Hour).UnixNano())
	return func(yield func(*event.Event) bool) {
		for ev := range fleet.Events() {
			if ev.Time < begin && late(ev.Agent) {
				continue
			}
			if !yield(ev) {
				return
			}
		}
	}
}

// late reports whether an agent comes after the first days: of every role and tenant
// some do.
func late(agent string) bool {
	number, err := strconv.Atoi(agent[strings.LastIndexByte(agent, '-')+1:])
	return err == nil && number/32%2 == 1
}

// calibration adds up what became of several replays, by detector and stratum.
type calibration struct {
	days             float64
	found            map[string]int // all of them false
	risked, budgeted map[string]float64
}

// add adds a replay; before is what each detector had risked when peers came into force.
func (c *calibration) add(r *run, rep Report, before map[string]float64) {
	c.days += rep.AgentDays
	for name, x := range rep.RiskedBy {
		c.risked["detector "+name] += x
		if before != nil {
			c.risked["with peers "+name] += x - before[name]
		}
	}
	for _, f := range r.found {
		c.found["detector "+f.Detector]++
		if strings.Contains(f.Rules, "+") {
			c.found["with peers "+f.Detector]++
		}
	}
	for kind, strata := range map[string]map[string]Stratum{"group": rep.Groups, "known": rep.Maturity} {
		for name, s := range strata {
			name = kind + " " + name
			c.found[name] += s.False
			c.risked[name] += s.Risked
			c.budgeted[name] += s.Budgeted
		}
	}
	cell := func(group string, maturity int) string {
		role, _, _ := strings.Cut(group, "/")
		return "group " + role + ", known " + maturities[maturity].name
	}
	for _, a := range r.agents {
		for i := range maturities {
			name := cell(a.group(), i)
			c.risked[name] += a.risked[i]
			c.budgeted[name] += rep.Budget * a.days[i]
		}
	}
	for _, f := range r.found {
		c.found[cell(f.group, f.maturity)]++
	}
	c.found["all"] += rep.False
	c.risked["all"] += rep.Risked
	c.budgeted["all"] += rep.Budget * rep.AgentDays
}

func (c *calibration) log(t *testing.T) {
	t.Helper()
	t.Logf("%.0f agent-days; false findings, over those foretold, over the budget (95 %% by chance)", c.days)
	for _, name := range slices.Sorted(maps.Keys(c.risked)) {
		line := fmt.Sprintf("%-36s %4d", name, c.found[name])
		for _, m := range []float64{c.risked[name], c.budgeted[name]} {
			if m > 0 {
				line += fmt.Sprintf("  of %6.1f %5.2f (%s)", m, float64(c.found[name])/m, intervalOf(c.found[name], m).text())
			}
		}
		t.Log(line)
	}
}

// TestCleanReplay replays fleets without attacks, whose findings are all false: agents of
// every role, half of them new after a fortnight, for four weeks more. It holds that no
// false findings beyond 1.3 times the budget come in all, or of agents known so well,
// that chance would not explain.
func TestCleanReplay(t *testing.T) {
	start := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	const days, learned = 42, 14
	f := func(name string, until time.Time) {
		t.Run(name, func(t *testing.T) {
			c := calibration{found: map[string]int{}, risked: map[string]float64{}, budgeted: map[string]float64{}}
			for i := range uint64(*fleets) {
				r := newRun(Config{Rules: detect.DefaultRules(), WarmupUntil: until})
				var before map[string]float64
				for ev := range clean(t, *seed+i, start, days, learned) {
					if before == nil && !until.IsZero() && !ev.Time.Time().Before(until) {
						before = map[string]float64{}
						for _, d := range r.cfg.Rules.Detectors {
							before[d.About().Name] = r.engine.Stats().Risked[d.About().Slot]
						}
					}
					if err := r.take(ev, event.Source{}, ""); err != nil {
						t.Fatal(err)
					}
				}
				c.add(r, r.report(nil, 1), before)
			}
			c.log(t)
			for name, budgeted := range c.budgeted {
				if least := intervalOf(c.found[name], budgeted).Low; least > 1.3 && !strings.HasPrefix(name, "group") {
					t.Errorf("%s: %d false findings of %.1f budgeted, at least %.2f times as many; want at most 1.3", name, c.found[name], budgeted, least)
				}
			}
		})
	}
	f("alone", time.Time{})
	f("peers", start.Add(learned*24*time.Hour))
}
