package demo

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestRecall gives fleets, each with a clean fortnight and then attacks, to the
// engine as the demonstration does, and counts what it finds, how fast, and what
// it finds that is not there: once as in the demonstration, where time within
// sessions is compressed, and once under every threat at the pace of every day,
// where rates and sums mean what they mean.
func TestRecall(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	t.Run("demonstration", func(t *testing.T) {
		r := recall{}
		for seed := range uint64(10) {
			fleet, err := simulate.New(simulate.Config{Agents: 60, Tenants: 2, Days: days, Rate: 120, Seed: seed + 1,
				Start: now.Add(-days * 24 * time.Hour), Clock: simulate.WorkdayAt(now)})
			if err != nil {
				t.Fatal(err)
			}
			live := simulate.DefaultLiveConfig(now)
			live.Duration, live.Threats, live.Injections = DefaultConfig().Live, DefaultConfig().Threats, DefaultConfig().Injections
			attacked, err := fleet.Live(live)
			if err != nil {
				t.Fatal(err)
			}
			r.run(fleet, days, func(observe func(*event.Event) bool) {
				fleet.Events()(observe)
				attacked(observe)
			})
		}
		r.log(t)
		if hit, all := r.found(DefaultConfig().Threats...); hit*100 < all*93 {
			t.Errorf("found %d of %d attacks", hit, all)
		}
		r.holdBudget(t)
	})
	t.Run("every day", func(t *testing.T) {
		r := recall{}
		const weeks = 4
		for seed := range uint64(10) {
			fleet, err := simulate.New(simulate.Config{Agents: 120, Tenants: 2, Days: 7 * weeks, Rate: 120, Seed: seed + 1,
				Start: now.Add(-weeks * 7 * 24 * time.Hour), Threats: []string{"all"}, Injections: 6})
			if err != nil {
				t.Fatal(err)
			}
			r.run(fleet, 7*weeks, fleet.Events())
		}
		r.log(t)
	})
	t.Run("evasive", func(t *testing.T) {
		r := recall{}
		const weeks = 6
		for seed := range uint64(10) {
			fleet, err := simulate.New(simulate.Config{Agents: 120, Tenants: 2, Days: 7 * weeks, Rate: 120, Seed: seed + 1,
				Start: now.Add(-weeks * 7 * 24 * time.Hour), AttackFrom: 14 * 24 * time.Hour, Threats: []string{"all"}, Injections: 6, Evasive: true})
			if err != nil {
				t.Fatal(err)
			}
			r.run(fleet, 7*weeks, fleet.Events())
		}
		r.log(t)
	})
}

// recall counts over many fleets.
type recall struct {
	rows      map[string]*recallRow // by threat and variant
	wrong     map[string]int        // false findings by detector
	agentDays float64
}

type recallRow struct {
	threat   string
	injected int
	found    int
	delays   []time.Duration // from the first malicious event to the first finding, where there is one
	by       map[string]int  // detectors that found it
}

// run gives the events of one fleet to an engine of its own.
func (r *recall) run(fleet *simulate.Fleet, days float64, events func(func(*event.Event) bool)) {
	engine, shared := detect.New(detect.DefaultRules()), entity.New(detect.DefaultRules())
	var findings []detect.Finding
	offset := int64(0)
	events(func(ev *event.Event) bool {
		findings = append(findings, engine.Observe(ev, offset, event.Source{})...)
		for _, f := range engine.Facts() {
			findings = append(findings, shared.Observe(&f)...)
		}
		offset++
		return true
	})
	r.agentDays += float64(engine.Agents()) * days
	if r.rows == nil {
		r.rows, r.wrong = map[string]*recallRow{}, map[string]int{}
	}
	explained := map[string]bool{}
	for _, l := range fleet.Labels() {
		name := l.Threat + "/" + l.Variant
		row := r.rows[name]
		if row == nil {
			row = &recallRow{threat: l.Threat, by: map[string]int{}}
			r.rows[name] = row
		}
		row.injected++
		by := map[string]bool{}
		var first time.Time
		for _, f := range findings {
			if !slices.Contains(l.Sessions, f.Session) && !slices.ContainsFunc(f.Evidence, func(e string) bool { return slices.Contains(l.Events, e) }) {
				continue
			}
			explained[f.ID] = true
			by[f.Detector] = true
			if at := f.Time.Time(); first.IsZero() || at.Before(first) {
				first = at
			}
		}
		for detector := range by {
			row.by[detector]++
		}
		if len(by) > 0 {
			row.found++
			row.delays = append(row.delays, max(first.Sub(l.Start), 0))
		}
	}
	for _, f := range findings {
		if !explained[f.ID] {
			r.wrong[f.Detector]++
		}
	}
}

// found counts the attacks by these threats.
func (r *recall) found(threats ...string) (hit, all int) {
	for _, row := range r.rows {
		if slices.Contains(threats, row.threat) {
			hit += row.found
			all += row.injected
		}
	}
	return hit, all
}

// falseRate is how many false findings there are per agent-day.
func (r *recall) falseRate() float64 {
	n := 0
	for _, wrong := range r.wrong {
		n += wrong
	}
	return float64(n) / r.agentDays
}

// log prints the tables.
func (r *recall) log(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(r.rows)) {
		row := r.rows[name]
		slices.Sort(row.delays)
		delay := "-"
		if n := len(row.delays); n > 0 {
			delay = row.delays[n/2].Round(time.Second).String()
		}
		detectors := slices.Sorted(maps.Keys(row.by))
		slices.SortStableFunc(detectors, func(a, b string) int { return cmp.Compare(row.by[b], row.by[a]) })
		var by strings.Builder
		for _, d := range detectors {
			fmt.Fprintf(&by, " %s %d", d, row.by[d])
		}
		t.Logf("%-34s %3d of %3d, delay p50 %8s, by%s", name, row.found, row.injected, delay, by.String())
	}
	rules := detect.DefaultRules()
	log := func(name string, share float64) {
		rate := float64(r.wrong[name]) / r.agentDays
		t.Logf("%-34s %3d false, %.5f per agent-day, %.2f of its share", name, r.wrong[name], rate, rate/(share*rules.Budget))
	}
	for _, d := range rules.Detectors {
		log(d.About().Name, d.Share)
	}
	for _, j := range rules.Joint {
		log(j.Name, j.Share)
	}
	t.Logf("false findings in %.0f agent-days: %.4f per agent-day, budget %g", r.agentDays, r.falseRate(), rules.Budget)
}

// holdBudget holds the false findings to the budget, which is to be spent, not only kept.
func (r *recall) holdBudget(t *testing.T) {
	if ratio := r.falseRate() / detect.DefaultRules().Budget; ratio < 0.7 || ratio > 1.3 {
		t.Errorf("false findings are %.2f of the budget, want 0.7 to 1.3", ratio)
	}
}
