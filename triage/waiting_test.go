package triage

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// partition is a partition of findings, some of which are still to be told of.
type partition struct {
	w   *world
	all []detect.Finding
}

// owner opens it from an offset on, and hands over what is there.
func (p *partition) owner(tr *Triage, from int64) *processor {
	p.w.Helper()
	s, err := tr.Open(context.Background(), stream.Owned{Topic: "stakeout.findings", Next: from})
	p.w.must(err)
	for i := from; i < int64(len(p.all)); i++ {
		r := p.w.record(p.all[i])
		r.Offset = i
		p.w.must(s.Process(context.Background(), []stream.Record{r}))
	}
	return s.(*processor)
}

// wantPart waits until all before an offset are told of.
func (p *partition) wantPart(s *processor, want int64) {
	p.w.Helper()
	p.w.eventually(func() error {
		got, err := s.CheckpointPart(context.Background(), int64(len(p.all)))
		if err == nil && got != want {
			err = fmt.Errorf("the checkpoint may go to offset %d, want %d", got, want)
		}
		return err
	})
}

// slow is a store that answers when it is told to.
type slow chan bool

func (s slow) ask(context.Context, command.Question) (command.Past, error) {
	<-s
	return command.Past{}, nil
}

// TestCheckpointStaysBeforeWhatIsUntold has the store take long: the offset that is
// committed while findings come stays before the first of them that is not told of.
func TestCheckpointStaysBeforeWhatIsUntold(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	tr.cfg.History.Timeout = 30 * time.Second
	store := slow(make(chan bool))
	tr.UseHistory(store.ask)
	p := partition{w: w, all: []detect.Finding{exported(w, "a", 1), exported(w, "b", 1), exported(w, "c", 1)}}
	s := p.owner(tr, 0)
	p.wantPart(s, 0)
	if n := len(w.history().commands); n != 3 {
		t.Errorf("%d commands while the store is slow, want 3", n)
	}
	for range p.all {
		store <- true
	}
	p.wantPart(s, 3)
	w.must(s.Close())
	w.wantDisposed(p.all...)
}

// TestRestartTellsWhatWasUntold ends a process while the store is slow: who goes on at the
// offset that was committed tells of each finding, and once.
func TestRestartTellsWhatWasUntold(t *testing.T) {
	w := newWorld(t)
	first := w.triage()
	first.cfg.History.Timeout = 30 * time.Second
	store := slow(make(chan bool))
	first.UseHistory(store.ask)
	p := partition{w: w}
	for i := range 3 * lookers { // more than are asked about at a time
		p.all = append(p.all, exported(w, fmt.Sprint("a", i), 1))
	}
	var dead atomic.Bool
	first.at = func(string) error {
		if dead.Load() {
			return errCrash
		}
		return nil
	}
	s := p.owner(first, 0)
	store <- true // one of those that were asked about
	w.eventually(func() error {
		if n := testutil.ToFloat64(first.metrics.histories.WithLabelValues("answered")); n != 1 {
			return fmt.Errorf("%v findings are answered, want 1", n)
		}
		return nil
	})
	committed, err := s.CheckpointPart(t.Context(), int64(len(p.all)))
	w.must(err)
	if committed >= lookers {
		t.Fatalf("the checkpoint may go to offset %d, while findings before %d are not told of", committed, lookers)
	}
	dead.Store(true)
	close(store)
	if err := s.Close(); !errors.Is(err, errCrash) {
		t.Fatalf("the process ends with %v, want it to be cut off", err)
	}

	next := w.triage()
	next.cfg.History.Timeout = 30 * time.Second
	next.UseHistory(func(context.Context, command.Question) (command.Past, error) { return command.Past{}, nil })
	s = p.owner(next, committed)
	w.must(s.Checkpoint(t.Context()))
	w.wantDisposed(p.all...)
	w.wantOnce()
	if got, err := s.CheckpointPart(t.Context(), int64(len(p.all))); err != nil || got != int64(len(p.all)) {
		t.Errorf("the checkpoint may go to offset %d, %v, want %d", got, err, len(p.all))
	}
}

// TestStoreThatIsAwayAndComesBack disposes of every finding from before, during and after.
func TestStoreThatIsAwayAndComesBack(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	tr.cfg.History.Timeout = 30 * time.Second
	var away atomic.Bool
	tr.UseHistory(func(context.Context, command.Question) (command.Past, error) {
		if away.Load() {
			return command.Past{}, errors.New("connection refused")
		}
		return command.Past{}, nil
	})
	var all []detect.Finding
	feed := func(name string, n int) {
		for i := range n {
			all = append(all, exported(w, fmt.Sprint(name, i), 1))
			w.must(w.feed(tr, all[len(all)-1]))
		}
	}
	want := func(result string, n float64) {
		t.Helper()
		if got := testutil.ToFloat64(tr.metrics.histories.WithLabelValues(result)); got != n {
			t.Errorf("%v findings are %s, want %v", got, result, n)
		}
	}
	feed("before", 1)
	want("answered", 1)
	away.Store(true)
	feed("during", breakAfter+2)
	want("failed", breakAfter)
	want("broken", 2)
	w.ahead.Add(int64(breakFor))
	feed("still", 2) // one asks, in vain
	want("failed", breakAfter+1)
	want("broken", 3)
	away.Store(false)
	feed("not yet", 1)
	want("broken", 4)
	w.ahead.Add(int64(breakFor))
	feed("after", 2)
	want("answered", 3)
	w.wantDisposed(all...)
	w.wantOnce()
}

func TestUntold(t *testing.T) {
	var u untold
	f := func(next, want int64, wantErr error) {
		t.Helper()
		if got, err := u.before(next); got != want || !errors.Is(err, wantErr) {
			t.Errorf("before %d all are told of up to %d, %v, want %d, %v", next, got, err, want, wantErr)
		}
	}
	f(7, 7, nil)
	u.begin(3)
	u.begin(5)
	f(6, 3, nil)
	u.end(5, nil)
	f(6, 3, nil)
	u.end(3, nil)
	f(6, 6, nil)
	u.begin(6)
	u.begin(8)
	u.end(8, errCrash)
	f(9, 6, errCrash)
	u.end(6, errors.New("another"))
	f(9, 9, errCrash) // the first of them
}

// TestAskingWaitsForRest has nobody ask while findings come, and one at a time after that.
func TestAskingWaitsForRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &Triage{asking: make(chan bool, 1)}
		begun := time.Now()
		for range 4 { // a finding each 0.4 s
			tr.busy.Store(time.Now().UnixNano())
			ctx, cancel := context.WithTimeout(t.Context(), rest-100*time.Millisecond)
			if tr.mayAsk(ctx) {
				t.Fatalf("asked %s after a finding, want a rest of %s", time.Since(begun), rest)
			}
			cancel()
		}
		last := time.Now()
		tr.busy.Store(last.UnixNano())
		if !tr.mayAsk(t.Context()) || time.Since(last) != rest {
			t.Fatalf("asked %s after the last finding, want %s", time.Since(last), rest)
		}
		turn := make(chan time.Time)
		go func() {
			if tr.mayAsk(t.Context()) {
				turn <- time.Now()
			}
			close(turn)
		}()
		time.Sleep(time.Second) // that who has the turn takes, in the bubble's time
		handed := time.Now()
		<-tr.asking
		if at, ok := <-turn; !ok || at != handed {
			t.Errorf("the turn is handed on at %s, %t, want %s", at, ok, handed)
		}
	})
}
