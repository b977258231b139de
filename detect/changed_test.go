package detect

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestReplaysFromUnwritten writes of the profiles only those that have waited long, crashes
// at any event, after any part of the next checkpoint was written, and goes on from the offset
// that the last one allowed, with and without a limit of agents, and where part of what comes
// is told without trust: see [Engine.ChangedBefore].
func TestReplaysFromUnwritten(t *testing.T) {
	const interval = 40
	type write struct {
		id string
		b  []byte
	}
	for _, world := range []struct {
		limit  int
		forged bool
	}{{0, false}, {60, false}, {0, true}, {60, true}} {
		limit := world.limit
		log := strangers(4, 2000)
		open := func() *Engine {
			e := New(DefaultRules())
			e.SetLimit(limit)
			e.UseTrust(func(topic, _, _ string) bool { return topic == "raw.own" })
			return e
		}
		sourceOf := func(i int) event.Source {
			if world.forged && i > 300 && i%5 == 0 {
				return event.Source{Topic: "raw.public", Offset: int64(i)}
			}
			return event.Source{Topic: "raw.own", Offset: int64(i)}
		}
		observe := func(e *Engine, from, to int, found map[string]Finding) {
			for i := from; i < to; i++ {
				for _, f := range e.Observe(log[i], int64(i), sourceOf(i)) {
					found[f.ID] = f
				}
			}
		}
		state := func(e *Engine) map[string][]byte {
			s := map[string][]byte{}
			for id, a := range e.agents.all() {
				s[id] = a.profile.AppendBinary(nil)
			}
			return s
		}
		undisturbed, want := open(), map[string]Finding{}
		observe(undisturbed, 0, len(log), want)

		written := 0
		for seed := range uint64(10) {
			rng := rand.New(rand.NewPCG(seed, 0))
			lag := 1 + rng.IntN(300)
			if limit > 0 {
				lag = rng.IntN(limit - interval)
			}
			first, got := open(), map[string]Finding{}
			var changelog []write
			committed, acknowledged, at := 0, 0, 0
			checkpoint := func() (next int) {
				for id, b := range first.ChangedBefore(int64(at - lag)) {
					changelog = append(changelog, write{id, slices.Clone(b)})
				}
				next = at
				if n, first := first.Unwritten(); n > 0 {
					next = int(first)
				}
				return next
			}
			for crash := rng.IntN(len(log) - 400); at < crash; {
				to := min(crash, at+1+rng.IntN(interval))
				observe(first, at, to, got)
				at = to
				acknowledged = len(changelog)
				if next := checkpoint(); next < committed || next < at-lag {
					t.Fatalf("after offset %d a checkpoint with a lag of %d allows offset %d to be committed, after %d", at, lag, next, committed)
				} else if at < crash {
					committed, acknowledged = next, len(changelog)
				}
			}
			written += len(changelog)
			second := open()
			for _, w := range changelog[:acknowledged+rng.IntN(len(changelog)-acknowledged+1)] {
				if err := second.Restore(w.id, w.b); err != nil {
					t.Fatal(err)
				}
			}
			observe(second, committed, len(log), got)
			if diff := cmp.Diff(state(undisturbed), state(second)); diff != "" {
				t.Fatalf("%+v, seed %d: profiles after a crash at offset %d and a replay from %d (-undisturbed +replayed):\n%s", world, seed, at, committed, diff)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%+v, seed %d: findings (-undisturbed +replayed):\n%s", world, seed, diff)
			}
		}
		if written == 0 {
			t.Error("nothing was written: the test shows nothing")
		}
	}
}

// TestChangedBefore writes busy agents seldom and idle ones once, and in the end all.
func TestChangedBefore(t *testing.T) {
	e := New(DefaultRules())
	offset, lines := int64(0), []string{}
	act := func(agents ...string) {
		for _, id := range agents {
			ev := use(id, int(offset))
			ev.ID = fmt.Sprint(offset)
			e.Observe(ev, offset, event.Source{})
			offset++
		}
	}
	checkpoint := func(before int64) {
		line := fmt.Sprintf("before %d:", before)
		for id := range e.ChangedBefore(before) {
			line += " " + id
		}
		n, first := e.Unwritten()
		if n == 0 {
			first = offset
		}
		lines = append(lines, fmt.Sprintf("%s; %d left, from %d", line, n, first))
	}
	act("busy", "idle", "busy", "late")
	checkpoint(0)
	checkpoint(3)
	act("busy", "late", "busy")
	checkpoint(3)
	checkpoint(4)
	checkpoint(5)
	checkpoint(offset)
	want := []string{
		"before 0:; 3 left, from 0",
		"before 3: busy idle; 1 left, from 3",
		"before 3:; 2 left, from 3",
		"before 4: late; 1 left, from 4",
		"before 5: busy; 0 left, from 7",
		"before 7:; 0 left, from 7",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("checkpoints (-want +got):\n%s", diff)
	}
}
