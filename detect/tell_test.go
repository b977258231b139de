package detect

import (
	"fmt"
	"testing"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestRunsAfterARestart has an agent whose session starts tell its build, and its model calls the
// model alone: those tell nothing of what runs, also when it was not told since a restart.
func TestRunsAfterARestart(t *testing.T) {
	e := New(DefaultRules())
	told := func(e *Engine, i int, name event.Name, version string) (all []string) {
		ev := &event.Event{Time: hourly(i), Name: name, Agent: "clerk", Role: "clerk", ID: fmt.Sprint(i), Session: fmt.Sprint("s", i/2), Version: version, Model: "atlas-3"}
		e.Observe(ev, int64(i), event.Source{})
		for _, f := range e.Facts() {
			if f.Kind == DeploymentFact {
				all = append(all, f.Runs)
			}
		}
		return all
	}
	if got := told(e, 1, event.SessionStart, "1.4"); len(got) != 1 || got[0] != "1.4 atlas-3" {
		t.Fatalf("told is %q, want what runs", got)
	}
	told(e, 2, event.SessionStart, "1.4")
	again := New(DefaultRules())
	for id, encoded := range e.Changed() {
		if err := again.Restore(id, encoded); err != nil {
			t.Fatal(err)
		}
	}
	for name, e := range map[string]*Engine{"as it goes": e, "after a restart": again} {
		if got := told(e, 30, event.ModelCall, ""); len(got) != 0 {
			t.Errorf("%s: a model call tells that the agent runs %q, want nothing", name, got)
		}
	}
}
