package detect

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
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

// TestSlabsAreAMap adds and removes agents at random, with long names and short ones, and
// compares with a map.
func TestSlabsAreAMap(t *testing.T) {
	s, want := newSlabs(), map[string]*agent{}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 20_000 {
		id := fmt.Sprint(rng.IntN(3000))
		if len(id)%2 == 0 {
			id = strings.Repeat(id, 20)
		}
		a := s.find(id)
		if a != want[id] {
			t.Fatalf("step %d: agent %.10s is at %p, want %p", i, id, a, want[id])
		}
		if i > 10_000 && a == nil || i <= 10_000 && a != nil { // first there come to be more, then fewer
			continue
		}
		if a != nil {
			s.remove(a)
			delete(want, id)
			continue
		}
		if a = s.add(id); s.id(a) != id || a.profile != (Profile{}) {
			t.Fatalf("step %d: agent %.10s is called %.10s, or not new", i, id, s.id(a))
		}
		a.profile.events = 1
		want[id] = a
		if s.likely([]byte(id)) == nil {
			t.Fatalf("step %d: agent %.10s is not likely anywhere", i, id)
		}
	}
	got := maps.Collect(s.all())
	if !maps.Equal(want, got) || s.known != len(want) {
		t.Errorf("%d agents, %d of them found, want %d", s.known, len(got), len(want))
	}
	if len(want) == 0 || s.used <= largestSlab {
		t.Errorf("%d agents in %d slots: the test shows little", len(want), s.used)
	}
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
		if got, want := e.agents.find(id).profile, fresh.agents.find(id).profile; got != want {
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
	if n := e.agents.used; n > limit+firstSlab || e.agents.known != limit {
		t.Errorf("%d agents have %d places", e.agents.known, n)
	}
}
