package demo

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestRecallWithABOM has attackers announce what they bring by a config.change, to
// fleets whose bill of materials names all that no attack brought.
func TestRecallWithABOM(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	hit, all, wrong, agentDays := 0, 0, 0, 0.0
	for seed := range uint64(3) {
		const weeks = 3
		fleet, err := simulate.New(simulate.Config{Agents: 60, Tenants: 2, Days: 7 * weeks, Rate: 120, Seed: seed + 1,
			Start: now.Add(-weeks * 7 * 24 * time.Hour), AttackFrom: 14 * 24 * time.Hour, Threats: []string{detect.Supply}, Injections: 6, Evasive: true})
		if err != nil {
			t.Fatal(err)
		}
		var events []event.Event
		for ev := range fleet.Events() {
			events = append(events, *ev)
		}
		attack := map[string]bool{}
		for _, l := range fleet.Labels() {
			for _, id := range l.Sessions {
				attack[id] = true
			}
		}
		models, servers, builds := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, ev := range events {
			if !attack[ev.Session] {
				models[ev.Model], servers[ev.Server], builds[ev.Version] = true, true, true
			}
		}
		rules := detect.DefaultRules()
		rules.BOM = &detect.BOM{Models: named(models)}
		for _, name := range named(servers) {
			rules.BOM.Servers = append(rules.BOM.Servers, detect.BOMServer{Address: name})
		}
		for _, name := range named(builds) {
			rules.BOM.Builds = append(rules.BOM.Builds, detect.BOMBuild{Version: name})
		}
		if err := rules.Validate(); err != nil {
			t.Fatal(err)
		}
		engine := detect.New(rules)
		found := map[string]bool{}
		for i := range events {
			for _, f := range engine.Observe(&events[i], int64(i), event.Source{}) {
				if f.Detector == "supply_chain" {
					found[f.Session] = true
				}
			}
		}
		for _, l := range fleet.Labels() {
			all++
			if slices.ContainsFunc(l.Sessions, func(id string) bool { return found[id] }) {
				hit++
			}
		}
		for id := range found {
			if !attack[id] {
				wrong++
			}
		}
		agentDays += float64(engine.Agents()) * 7 * weeks
	}
	t.Logf("found %d of %d announced attacks; %d false findings of supply_chain in %.0f agent-days", hit, all, wrong, agentDays)
	if all == 0 || hit < all || wrong > 0 {
		t.Errorf("found %d of %d, %d false, want all and none", hit, all, wrong)
	}
}

// named are the names in a set, without the empty one.
func named(set map[string]bool) []string {
	delete(set, "")
	return slices.Sorted(maps.Keys(set))
}
