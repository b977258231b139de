package detect

import (
	"testing"

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
