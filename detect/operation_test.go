package detect

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// decided is the event that carries a decision about agent a at a time.
func decided(i int, id string) *event.Event {
	return &event.Event{Time: use("a", i).Time, Name: event.ConfigChange, Agent: "a", ID: id}
}

func stateOf(e *Engine, id string) State { return e.agents.find(id).profile.State() }

func TestOperations(t *testing.T) {
	e := grown(t, 400)
	operate := func(op Operation, offset int, id string) {
		t.Helper()
		if err := e.Operate(op, decided(offset, id), int64(offset), event.Source{}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(s State) {
		t.Helper()
		if got := stateOf(e, "a"); got != s {
			t.Fatalf("the baseline is %s, want %s", got, s)
		}
	}
	next := 400
	export := func() (found int) {
		for range 40 {
			ev := export("a", next)
			ev.Session = "one"
			found += len(e.Observe(ev, int64(next), event.Source{}))
			next++
		}
		return found
	}
	want(Active)
	if export() == 0 {
		t.Fatal("exports by an agent that never exported are not found")
	}
	for e.agents.find("a").profile.State() != Drifted {
		export()
	}
	operate(Reanchor, next, "r1")
	next++
	want(Active)
	if n := export(); n != 0 {
		t.Errorf("%d findings about what a person said is normal", n)
	}
	operate(Reset, next, "r2")
	want(Relearning)
	wealth := e.agents.find("a").profile.wealth
	operate(Reset, next+1, "r2") // told twice
	next += 2
	if e.agents.find("a").profile.wealth != wealth {
		t.Error("a reset gives the agent another budget")
	}
	e.Observe(use("a", next), int64(next), event.Source{})
	next++
	operate(Confirm, next, "r3")
	want(Active)
	if err := e.Operate("bless", decided(next+1, "r4"), int64(next+1), event.Source{}); err == nil {
		t.Error("an unknown operation is taken")
	}
}

// TestForget has an agent take no place any more, in memory and in the changelog, from
// where it is decided in the log on.
func TestForget(t *testing.T) {
	e, changelog := New(DefaultRules()), map[string][]byte{}
	e.SetLimit(3)
	at := int64(0)
	observe := func(agents ...string) {
		for _, agent := range agents {
			e.Observe(use(agent, int(at)), at, event.Source{})
			at++
		}
	}
	forget := func(agent string, offset int64) {
		t.Helper()
		ev := &event.Event{Time: use(agent, int(offset)).Time, Name: event.ConfigChange, Agent: agent, ID: fmt.Sprint("forget", offset)}
		if err := e.Operate(Forget, ev, offset, event.Source{}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(agents ...string) {
		t.Helper()
		if diff := cmp.Diff(agents, slices.Sorted(names(e))); diff != "" {
			t.Errorf("agents (-want +got):\n%s", diff)
		}
		keep(changelog, e)
		if diff := cmp.Diff(agents, slices.Sorted(maps.Keys(changelog))); diff != "" {
			t.Errorf("agents in the changelog (-want +got):\n%s", diff)
		}
	}
	observe("a", "canary", "b")
	want("a", "b", "canary")
	observe("c") // puts all in order, and takes the place of a
	forget("canary", at-3)
	want("b", "c", "canary") // it came before what the agent did
	forget("canary", at)
	forget("nobody", at)
	at++
	want("b", "c")
	observe("d", "e") // of whom one takes the place of b, and not that of the canary again
	want("c", "d", "e")
	observe("canary")
	forget("canary", at) // before anybody was told of it
	want("d", "e")
	if n := e.Stats().Forgotten; n != 3 {
		t.Errorf("%d agents were forgotten to make room, want a, b and c", n)
	}
}

func TestStaleBaseline(t *testing.T) {
	e := grown(t, 400)
	for id, b := range e.Changed() {
		s, err := Summarize(id, b)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.At(s.Last + event.Timestamp(staleAfter)).State; got != Active {
			t.Errorf("after %v it is %s, want active", staleAfter, got)
		}
		if got := s.At(s.Last + event.Timestamp(staleAfter) + 1).State; got != Stale {
			t.Errorf("later it is %s, want stale", got)
		}
	}
}
