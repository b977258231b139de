package app

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// A bystander is the work of a group that is done with a record when it sees it.
type bystander struct{}

func (bystander) Process(context.Context, []stream.Record) error { return nil }
func (bystander) Checkpoint(context.Context) error               { return nil }

// settling is a judge of facts at work, with a raw line that nobody has read.
type settling struct {
	*sharing
	judge *shared
	facts int
}

func startSettling(t *testing.T, change func(*Detection)) *settling {
	t.Helper()
	d := testDetection(t)
	s := &settling{sharing: testSharing(t, d)}
	change(&s.cfg)
	s.write(t, s.topics.Raw[0], "a line")
	s.judge = s.take(t, 0)
	s.run(t, s.settle)
	return s
}

// run does work until the test ends.
func (s *settling) run(t *testing.T, work func(context.Context) error) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- unlessDone(ctx, work(ctx)) }()
	t.Cleanup(func() {
		stop()
		check(t, <-done)
	})
}

func (s *settling) write(t *testing.T, topic, value string) {
	t.Helper()
	out, err := s.client.NewProducer(testContext(t))
	check(t, err)
	out.Append(topic, 0, nil, []byte(value))
	check(t, out.Flush(testContext(t)))
}

// tell has the judge read a fact.
func (s *settling) tell(t *testing.T) {
	t.Helper()
	s.facts++
	f := detect.Fact{Kind: detect.PrincipalFact, Entity: "ann", Agent: "a", Event: fmt.Sprint("e", s.facts),
		Time: event.At(time.Date(2026, 1, 5, 9, s.facts, 0, 0, time.UTC))}
	check(t, s.judge.Process(t.Context(), []stream.Record{{Topic: s.topics.Facts, Value: f.AppendJSON(nil)}}))
}

// cuts counts those in the log of the facts.
func (s *settling) cuts(t *testing.T) int { return len(s.sharing.read(t)) }

// work has a group go through a topic.
func (s *settling) work(t *testing.T, group, topic string) {
	s.run(t, func(ctx context.Context) error {
		return s.client.Run(ctx, stream.Group{Name: group, Topics: []string{topic}, Progress: true},
			func(context.Context, stream.Owned) (stream.Processor, error) { return bystander{}, nil })
	})
}

func (s *settling) stays(t *testing.T, cuts int) {
	t.Helper()
	for until := time.Now().Add(300 * time.Millisecond); time.Now().Before(until); {
		if n := s.cuts(t); n != cuts {
			t.Fatalf("%d cuts, want %d as long as somebody is behind", n, cuts)
		}
	}
}

func (s *settling) becomes(t *testing.T, cuts int) {
	t.Helper()
	for ctx := testContext(t); s.cuts(t) != cuts; {
		if ctx.Err() != nil {
			t.Fatalf("%d cuts, want %d", s.cuts(t), cuts)
		}
	}
}

// TestFactsWaitForAll has a fact wait until the line that came before it has become an
// event and the event was judged, and then no longer.
func TestFactsWaitForAll(t *testing.T) {
	s := startSettling(t, func(d *Detection) { d.Stalled = time.Hour })
	s.tell(t)
	s.stays(t, 0)
	s.write(t, s.topics.Events, "its event")
	s.work(t, s.groups.Ingest, s.topics.Raw[0])
	s.stays(t, 0)
	s.work(t, s.groups.Detect, s.topics.Events)
	s.becomes(t, 1)
	s.stays(t, 1) // nothing waits any more
	s.tell(t)
	s.becomes(t, 2)
	s.write(t, s.topics.Raw[0], "another line")
	s.tell(t)
	s.becomes(t, 3)
	if n := testutil.ToFloat64(s.metrics.passed); n != 0 {
		t.Errorf("%v partitions were given up, want none", n)
	}
}

// TestFactsDoNotWaitForever has a line that nobody reads: after detect.stalled it is not
// waited for any more, which is counted once; and waited for again when it moves.
func TestFactsDoNotWaitForever(t *testing.T) {
	s := startSettling(t, func(*Detection) {})
	began := time.Now()
	s.tell(t)
	s.becomes(t, 1)
	if took := time.Since(began); took < s.cfg.Stalled {
		t.Errorf("given up after %s, want %s", took, s.cfg.Stalled)
	}
	s.tell(t)
	began = time.Now()
	s.becomes(t, 2)
	if took := time.Since(began); took >= s.cfg.Stalled {
		t.Errorf("who stands still was waited for again, for %s", took)
	}
	if n := testutil.ToFloat64(s.metrics.passed); n != 1 {
		t.Errorf("%v partitions were given up, want 1", n)
	}
}

// TestWaits holds the waiting list to the facts whose lines were taken before a time, of
// each partition.
func TestWaits(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	fact := func(i int) waiting { return waiting{at(1000 + i), at(i), event.Timestamp(10 + i)} }
	var w waits
	if w.any(at(100)) {
		t.Error("the empty list has something")
	}
	w.add(1, fact(maxWaits)) // the lines of others may have been taken earlier
	for i := range 3 * maxWaits {
		w.add(1, fact(i))
	}
	w.add(2, fact(5))
	w.add(3, fact(500))
	w.drop(3)
	if w.any(at(0)) || !w.any(at(1)) {
		t.Error("the list does not know what waits")
	}
	want := func(before int, want map[int]waiting) {
		t.Helper()
		if diff := cmp.Diff(want, w.take(at(before)), cmp.AllowUnexported(waiting{})); diff != "" {
			t.Errorf("taken before %d (-want +got):\n%s", before, diff)
		}
	}
	want(6, map[int]waiting{1: {at(1000), at(5), 15}, 2: {at(1005), at(5), 15}})
	want(6, map[int]waiting{})
	want(maxWaits+1, map[int]waiting{1: {at(1000 + maxWaits), at(maxWaits), 10 + maxWaits}})
	want(4*maxWaits, map[int]waiting{1: {at(1000 + maxWaits - 2), at(3*maxWaits - 1), event.Timestamp(9 + 3*maxWaits)}})
	if w.any(at(1 << 20)) {
		t.Error("something is left")
	}
}
