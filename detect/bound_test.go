package detect

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// strangers is a log of a few regulars among many who come once or twice.
func strangers(seed uint64, n int) []*event.Event {
	rng := rand.New(rand.NewPCG(seed, 0))
	log := make([]*event.Event, n)
	for i := range log {
		id := fmt.Sprintf("regular-%d", rng.IntN(10))
		if rng.IntN(3) == 0 {
			id = fmt.Sprintf("stranger-%d", rng.IntN(n/4))
		}
		log[i] = use(id, i)
		log[i].ID = fmt.Sprint(i)
	}
	return log
}

// keep applies what Changed yields to a changelog.
func keep(changelog map[string][]byte, e *Engine) {
	for id, b := range e.Changed() {
		if b == nil {
			delete(changelog, id)
			continue
		}
		changelog[id] = slices.Clone(b)
	}
}

// names are those of the agents that an engine knows.
func names(e *Engine) iter.Seq[string] {
	return func(yield func(string) bool) {
		e.agents.all()(func(id string, _ *agent) bool { return yield(id) })
	}
}

func TestLimitForgetsWhoWasSeenLongestAgo(t *testing.T) {
	const limit = 50
	e := New(DefaultRules())
	e.SetLimit(limit)
	last := map[string]int{}
	changelog := map[string][]byte{}
	for i, ev := range strangers(1, 5000) {
		if e.agents.find(ev.Agent) == nil && len(last) == limit {
			oldest := ""
			for id, at := range last {
				if oldest == "" || at < last[oldest] {
					oldest = id
				}
			}
			delete(last, oldest)
		}
		last[ev.Agent] = i
		e.Observe(ev, int64(i), event.Source{})
		if diff := cmp.Diff(slices.Sorted(maps.Keys(last)), slices.Sorted(names(e))); diff != "" {
			t.Fatalf("agents after event %d (-want +got):\n%s", i, diff)
		}
		if i%97 == 0 {
			keep(changelog, e)
			if diff := cmp.Diff(slices.Sorted(maps.Keys(last)), slices.Sorted(maps.Keys(changelog))); diff != "" {
				t.Fatalf("changelog after event %d (-want +got):\n%s", i, diff)
			}
		}
	}
	if e.Stats().Forgotten == 0 {
		t.Error("nobody was forgotten: the test shows nothing")
	}
}

// TestLimitReplays crashes within every possible checkpoint, after any part of
// its changelog was written, and goes on from the checkpoint before.
func TestLimitReplays(t *testing.T) {
	const limit, interval = 60, 40
	log := strangers(2, 600)
	run := func(e *Engine, from, to int) {
		for i := from; i < to; i++ {
			e.Observe(log[i], int64(i), event.Source{})
		}
	}
	state := func(e *Engine) map[string][]byte {
		s := map[string][]byte{}
		for id, a := range e.agents.all() {
			s[id] = a.profile.AppendBinary(nil)
		}
		return s
	}
	type write struct {
		id string
		b  []byte
	}
	undisturbed := New(DefaultRules())
	undisturbed.SetLimit(limit)
	run(undisturbed, 0, len(log))
	want := state(undisturbed)

	rng := rand.New(rand.NewPCG(3, 0))
	for committed := interval; committed+interval <= len(log); committed += interval {
		first := New(DefaultRules())
		first.SetLimit(limit)
		var changelog []write
		checkpoint := func() {
			for id, b := range first.Changed() {
				changelog = append(changelog, write{id, slices.Clone(b)})
			}
		}
		for at := 0; at < committed; at += interval {
			run(first, at, at+interval)
			checkpoint()
		}
		acknowledged := len(changelog)
		run(first, committed, committed+interval)
		checkpoint()
		for range 10 {
			cut := acknowledged + rng.IntN(len(changelog)-acknowledged+1)
			second := New(DefaultRules())
			second.SetLimit(limit)
			for _, w := range changelog[:cut] {
				if err := second.Restore(w.id, w.b); err != nil {
					t.Fatal(err)
				}
			}
			run(second, committed, len(log))
			if diff := cmp.Diff(want, state(second)); diff != "" {
				t.Fatalf("after a crash with %d of %d records since offset %d (-undisturbed +replayed):\n%s",
					cut-acknowledged, len(changelog)-acknowledged, committed, diff)
			}
		}
	}
}

// heap is what is held once all garbage is gone.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestFloodOfAgents sends a million agents past a limit.
func TestFloodOfAgents(t *testing.T) {
	const limit = 1000
	e := New(DefaultRules())
	e.SetLimit(limit)
	var early uint64
	for i := range 1_000_000 {
		ev := use(fmt.Sprintf("new-%d", i), i)
		ev.ID = ""
		e.Observe(ev, int64(i), event.Source{})
		if i%50_000 == 0 {
			for range e.Changed() {
			}
		}
		if i == 100_000 { // after a checkpoint, as at the end
			early = heap()
		}
	}
	for range e.Changed() {
	}
	late := heap()
	t.Logf("%d bytes of heap after 100,000 new agents, %d after a million", early, late)
	if late > early+4<<20 { // 900,000 agents later: not even their names are kept
		t.Errorf("holds %d bytes more after ten times the agents", late-early)
	}
	if e.Agents() != limit {
		t.Errorf("holds %d agents, want %d", e.Agents(), limit)
	}
	if cap(e.changed) > 200_000 || len(e.gone) > 0 || len(e.order) > limit {
		t.Errorf("keeps %d changed, %d gone and %d in order", cap(e.changed), len(e.gone), len(e.order))
	}
}

func TestObserveAllocatesNothingAtTheLimit(t *testing.T) {
	e := New(DefaultRules())
	e.SetLimit(100)
	for i := range 150 {
		e.Observe(use(fmt.Sprint(i), i), int64(i), event.Source{})
	}
	ev := use("149", 1001)
	ev.ID = ""
	offset := int64(2000)
	if n := testing.AllocsPerRun(1000, func() {
		e.Observe(ev, offset, event.Source{Topic: "raw", Offset: offset})
		offset++
	}); n != 0 {
		t.Errorf("an event of a known agent allocates %v times, want 0", n)
	}
}

// TestFloodOfNames has one agent use a million tools, privileges, resources and
// sessions. What is known of it stays as small as it was.
func TestFloodOfNames(t *testing.T) {
	e := grown(t, 1000)
	for range e.Changed() {
	}
	before := heap()
	for i := range 1_000_000 {
		ev := use("a", 1000)
		ev.ID = fmt.Sprint("flood-", i)
		ev.Tool, ev.Privilege, ev.Resource, ev.Session = fmt.Sprint("tool-", i), fmt.Sprint("p:", i), fmt.Sprint("r-", i), fmt.Sprint("s-", i)
		e.Observe(ev, int64(2000+i), event.Source{Topic: "raw", Partition: i % 100, Offset: int64(i)})
	}
	if after := heap(); after > before+64<<10 {
		t.Errorf("holds %d bytes more after a million new names", after-before)
	}
	for _, b := range e.Changed() {
		if len(b) > 2048 {
			t.Errorf("a profile takes %d bytes, want at most 2048", len(b))
		}
	}
}
