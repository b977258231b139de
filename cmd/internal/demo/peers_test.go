package demo

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// fleets is how many fleets are attacked whose peers are in force.
var fleets = flag.Int("fleets", 3, "simulated fleets whose agents are held against peers")

// TestRecallWithPeers learns what is normal for peers from a clean fortnight, and counts
// the injections by content that are found from then on.
func TestRecallWithPeers(t *testing.T) {
	start := time.Date(2026, 10, 26, 10, 0, 0, 0, time.UTC)
	const learned = 14 * 24 * time.Hour
	found, all := 0, 0
	for seed := range uint64(*fleets) {
		fleet, err := simulate.New(simulate.Config{Agents: 120, Tenants: 2, Days: 28, Rate: 120, Seed: seed + 1,
			Start: start, AttackFrom: learned, Threats: []string{"all"}, Injections: 6})
		if err != nil {
			t.Fatal(err)
		}
		rules := detect.DefaultRules()
		engine, census := detect.New(rules), detect.NewCensus()
		engine.Count(census)
		alerted := map[string]bool{}
		offset := int64(0)
		fleet.Events()(func(ev *event.Event) bool {
			if census != nil && ev.Time.Time().Sub(start) >= learned {
				engine.Count(nil)
				engine.UsePeers(census.Peers("peers", rules))
				census = nil
			}
			for _, f := range engine.Observe(ev, offset, event.Source{}) {
				alerted[f.Session] = true
			}
			offset++
			return true
		})
		for _, l := range fleet.Labels() {
			if l.Threat != detect.PromptInjection {
				continue
			}
			all++
			if slices.ContainsFunc(l.Sessions, func(s string) bool { return alerted[s] }) {
				found++
			}
		}
	}
	t.Logf("found %d of %d injections by content", found, all)
	if all == 0 || found*4 < all*3 {
		t.Errorf("found %d of %d injections by content, want three quarters", found, all)
	}
}
