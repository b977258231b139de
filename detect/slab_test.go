package detect

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestAgentHasNoPointers keeps the garbage collector away from what takes most memory.
func TestAgentHasNoPointers(t *testing.T) {
	var look func(of reflect.Type, at string)
	look = func(of reflect.Type, at string) {
		switch of.Kind() {
		case reflect.Struct:
			for i := range of.NumField() {
				look(of.Field(i).Type, at+"."+of.Field(i).Name)
			}
		case reflect.Array:
			look(of.Elem(), at+"[]")
		case reflect.Pointer, reflect.String, reflect.Slice, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.UnsafePointer:
			t.Errorf("%s is a %s", at, of)
		}
	}
	look(reflect.TypeFor[agent](), "agent")
}

// TestForgottenLeaveNothing gives the places of forgotten agents to others, of whom
// then nothing is known, whether or not what was forgotten had been written.
func TestForgottenLeaveNothing(t *testing.T) {
	const limit = 20
	e := New(DefaultRules())
	e.SetLimit(limit)
	stale := New(DefaultRules())
	stale.Observe(use("tail", 0), 0, event.Source{})
	for _, b := range stale.Changed() {
		if err := e.Restore("tail", b); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Restore("tail", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 10 * limit {
		id := fmt.Sprint(i)
		e.Observe(use(id, 0), int64(i), event.Source{})
		fresh := New(DefaultRules())
		fresh.Observe(use(id, 0), int64(i), event.Source{})
		if got, want := e.agents[id].profile, fresh.agents[id].profile; got != want {
			t.Fatalf("agent %d has more than it did: %+v, want %+v", i, got, want)
		}
		if i%7 == 0 {
			for range e.ChangedBefore(int64(i - limit/2)) {
			}
		}
		if n, first := e.Unwritten(); n > limit || first < int64(i-limit) {
			t.Fatalf("after event %d %d profiles are unwritten, from event %d on", i, n, first)
		}
	}
	if n := len(e.slabs.ids); n > limit+firstSlab || len(e.agents) != limit {
		t.Errorf("%d agents have %d places", len(e.agents), n)
	}
}
