package app

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// TestDue says which changes a checkpoint of a part writes.
func TestDue(t *testing.T) {
	start := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	after := func(agents int, cfg Detection, step int) *watch {
		w := &watch{detection: &detection{cfg: cfg, step: step}, engine: detect.New(detect.DefaultRules())}
		for i := range agents {
			w.engine.Observe(use(fmt.Sprint(i), i), int64(i), event.Source{})
		}
		return w
	}
	f := func(name string, w *watch, next int64, passed time.Duration, want int64) {
		t.Helper()
		if got := w.due(next, start.Add(passed)); got != want {
			t.Errorf("%s: at offset %d after %s changes before %d are due, want before %d", name, next, passed, got, want)
		}
	}
	cfg := Detection{MaxAgents: 1000, CheckpointProfiles: 10, ReplayRecords: 300, ReplayAge: 30 * time.Second}
	f("few have changed", after(10, cfg, 100), 5000, 0, 5000)
	w := after(11, cfg, 100)
	f("too many", w, 5000, 0, 4700)
	f("the same, later", w, 5100, 2*time.Second, 4800)
	f("the age of the first checkpoint is reached", w, 5200, 30*time.Second, 5000)
	f("not of the next", w, 5400, 31*time.Second, 5100)
	f("of all but this", w, 5450, time.Hour, 5400)
	f("and anew", w, 6000, time.Hour+time.Second, 5700)
	f("the limit of agents is near", after(950, cfg, 100), 5000, 0, 4700)
	cfg.MaxAgents = 250
	f("and low", after(200, cfg, 100), 5000, 0, 4850)
	f("lower than the events of a checkpoint", after(200, cfg, 400), 5000, 0, 5000)
	cfg.MaxAgents, cfg.ReplayAge = 1000, 0
	f("no age", after(11, cfg, 100), 5000, 0, 5000)
}

// TestPartialCheckpoints crashes an owner that writes its busy agents seldom. The
// next one goes on from the offset that was committed: it judges again what was not
// written, and nothing else comes of it.
func TestPartialCheckpoints(t *testing.T) {
	const replay = 100
	d := testDetection(t, func(d *detection) { d.cfg.ReplayRecords, d.cfg.ReplayAge = replay, time.Hour })
	ctx := testContext(t)
	agents := []string{"a", "b", "c", "d"}
	log := records(0, 450, agents...)
	log = append(log[:400:400], records(400, 401, "late")...) // one that comes once
	for i, r := range records(101, 450, agents...) {
		r.Offset = int64(401 + i)
		log = append(log, r)
	}
	undisturbed, want := detect.New(d.rules), map[string]int{}
	for _, r := range log {
		var ev event.Event
		check(t, ev.UnmarshalJSON(r.Value))
		for _, f := range undisturbed.Observe(&ev, r.Offset, event.Source{}) {
			want[f.ID]++
		}
	}

	committed, last := int64(0), (*watch)(nil)
	for i, crashes := range []int{330, 1225, 1430, len(log)} {
		owner := d.take(t, committed)
		for at := int(committed); at < crashes; {
			to := min(at+30, crashes)
			check(t, owner.Process(ctx, log[at:to]))
			at = to
			durable, err := stream.Partial(owner).CheckpointPart(ctx, int64(at))
			check(t, err)
			if durable < committed || durable < int64(at-replay) {
				t.Fatalf("run %d: after offset %d a checkpoint makes durable what lies before %d, which was %d", i, at, durable, committed)
			}
			committed = durable
		}
		last = owner
	}
	written := map[string]int{}
	for _, r := range d.read(t, d.topics.Profiles) {
		written[string(r.Key)]++
	}
	if n := written["a"]; n < 5 || n > 30 {
		t.Errorf("a busy agent's profile was written %d times in %d checkpoints", n, len(log)/30)
	}
	if written["late"] != 1 {
		t.Errorf("the profile of one that came once was written %d times, want once", written["late"])
	}
	check(t, last.Checkpoint(ctx))
	if n, _ := last.engine.Unwritten(); n != 0 {
		t.Errorf("%d profiles are unwritten after the last checkpoint", n)
	}
	profiles, kept := map[string]string{}, map[string]string{}
	for id, b := range undisturbed.Changed() {
		profiles[id] = string(b)
	}
	for _, r := range d.read(t, d.topics.Profiles) {
		if len(r.Key) > 0 {
			kept[string(r.Key)] = string(r.Value)
		}
	}
	if diff := cmp.Diff(profiles, kept); diff != "" {
		t.Errorf("the changelog (-undisturbed +kept):\n%s", diff)
	}
	got, again := d.found(t), 0
	for _, n := range got {
		again += n - 1
	}
	if again == 0 {
		t.Error("no finding was sent twice: the test shows nothing of that")
	}
	for id := range got {
		got[id] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-undisturbed +found):\n%s", diff)
	}
}
