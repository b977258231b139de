package detect

import (
	"fmt"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// bomEngine judges under the rules that are the default, with a bill of materials.
func bomEngine(b *BOM) *Engine {
	r := DefaultRules()
	r.BOM = b
	return New(r)
}

// TestUnlistedPartsOutliveARestart reports a part once, also where a profile is
// restored in between, and reports one that was known before there was a bill.
func TestUnlistedPartsOutliveARestart(t *testing.T) {
	start := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	n := 0
	observe := func(e *Engine, model string) int {
		n++
		return len(e.Observe(&event.Event{ID: fmt.Sprint(n), Time: event.At(start.Add(time.Duration(n) * time.Hour)), Name: event.ModelCall, Agent: "a", Model: model}, int64(n), event.Source{}))
	}
	restart := func(from *Engine, b *BOM) *Engine {
		e := bomEngine(b)
		for id, encoded := range from.Changed() {
			if err := e.Restore(id, encoded); err != nil {
				t.Fatal(err)
			}
		}
		return e
	}
	e := bomEngine(nil)
	for range 300 {
		if observe(e, "shadow") != 0 {
			t.Fatal("there is a finding without a bill of materials")
		}
	}
	e = restart(e, &BOM{Models: []string{"atlas"}})
	if got := observe(e, "shadow") + observe(e, "shadow"); got != 1 {
		t.Errorf("%d findings of a model that was known before, want 1", got)
	}
	e = restart(e, &BOM{Models: []string{"atlas"}})
	if got := observe(e, "shadow") + observe(e, "atlas"); got != 0 {
		t.Errorf("%d findings after a restart, want none", got)
	}
}

// TestBuildsAreThoseOfTheRole asks of the role that the event names, or the profile.
func TestBuildsAreThoseOfTheRole(t *testing.T) {
	const long = "a role of more than the twenty-six bytes that a profile keeps"
	b := &BOM{Builds: []BOMBuild{{Role: "payer", Version: "1"}, {Role: long, Version: "2"}, {Version: "3"}}}
	for _, c := range []struct {
		told, role, build string
		found             int
	}{
		{"", "payer", "1", 0}, {"", "clerk", "1", 1}, {"", "clerk", "3", 0}, {"", "", "1", 1}, {"", "", "3", 0}, {"", long, "2", 0}, {"", long, "1", 1},
		{"payer", "", "1", 0}, {long, "", "2", 0}, {long, "", "1", 1}, {"payer", "clerk", "1", 1}, {"payer", "payer", "", 0},
	} {
		e := bomEngine(b)
		e.Observe(&event.Event{ID: "1", Time: 1, Name: event.Heartbeat, Agent: "a", Role: c.told}, 1, event.Source{})
		if got := e.Observe(&event.Event{ID: "2", Time: 2, Name: event.SessionStart, Agent: "a", Role: c.role, Version: c.build}, 2, event.Source{}); len(got) != c.found {
			t.Errorf("%+v: findings %+v", c, got)
		}
	}
}

// TestASectionHoldsItsKindAlone leaves what the bill does not speak of to the past.
func TestASectionHoldsItsKindAlone(t *testing.T) {
	call := event.Event{ID: "1", Time: 1, Name: event.ToolCall, Agent: "a", Model: "m", Version: "1", Server: "s", Tool: "t", ToolHash: "ab"}
	f := func(b *BOM, reason string) {
		t.Helper()
		ev, got := call, ""
		for _, f := range bomEngine(b).Observe(&ev, 1, event.Source{}) {
			got += f.Reason
		}
		if want := reason; got != want {
			t.Errorf("reason %q, want %q", got, want)
		}
	}
	const end = ", which the bill of materials does not name"
	server := func(tools ...BOMTool) *BOM { return &BOM{Servers: []BOMServer{{"s", tools}}} }
	f(nil, "")
	f(&BOM{Models: []string{"m"}}, "")
	f(&BOM{Models: []string{"M"}}, "a runs model m"+end)
	f(&BOM{Servers: []BOMServer{{Address: "r"}}}, "a runs server s"+end)
	f(server(), "")
	f(server(BOMTool{Name: "t"}), "")
	f(server(BOMTool{Name: "t", Hash: "cd"}, BOMTool{Name: "t", Hash: "AB"}), "")
	f(server(BOMTool{Name: "t", Hash: "cd"}), "a runs definition ab of tool t of s"+end)
	f(server(BOMTool{Name: "u"}), "a runs tool t of s"+end)
	f(&BOM{Models: []string{"n"}, Servers: []BOMServer{{Address: "r"}}, Builds: []BOMBuild{{Version: "2"}}}, "a runs model m and server s and build 1"+end)
}
