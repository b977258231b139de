package demo

import (
	"slices"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestRecall gives ten fleets, each with a clean fortnight and then live attacks,
// to the engine as the demonstration does, and counts what it finds and what it
// finds that is not there.
func TestRecall(t *testing.T) {
	const seeds, agents = 10, 60
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	injected, found := map[string]int{}, map[string]int{}
	all, hit, wrong, agentDays := 0, 0, 0, 0.0
	for seed := range uint64(seeds) {
		fleet, err := simulate.New(simulate.Config{Agents: agents, Tenants: 2, Days: days, Rate: 120, Seed: seed + 1,
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
		engine := detect.New(detect.DefaultRules())
		var findings []detect.Finding
		offset := int64(0)
		observe := func(ev *event.Event) bool {
			findings = append(findings, engine.Observe(ev, offset, event.Source{})...)
			offset++
			return true
		}
		fleet.Events()(observe)
		attacked(observe)
		agentDays += float64(engine.Agents()) * days
		explained := map[string]bool{}
		for _, l := range fleet.Labels() {
			name := l.Threat + "/" + l.Variant
			injected[name]++
			all++
			n := len(explained)
			for _, f := range findings {
				if slices.Contains(l.Sessions, f.Session) || slices.ContainsFunc(f.Evidence, func(e string) bool { return slices.Contains(l.Events, e) }) {
					explained[f.ID] = true
				}
			}
			if len(explained) > n {
				found[name]++
				hit++
			}
		}
		wrong += len(findings) - len(explained)
	}
	for name, n := range injected {
		t.Logf("%-34s %d of %d", name, found[name], n)
	}
	rate := float64(wrong) / agentDays
	t.Logf("found %d of %d; %d false findings in %.0f agent-days: %.4f per agent-day, budget %g", hit, all, wrong, agentDays, rate, detect.DefaultRules().Budget)
	if hit*100 < all*93 {
		t.Errorf("found %d of %d attacks", hit, all)
	}
	if ratio := rate / detect.DefaultRules().Budget; ratio < 0.7 || ratio > 1.3 {
		t.Errorf("false findings are %.2f of the budget, want 0.7 to 1.3", ratio)
	}
}
