package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/ingest/stream"
)

// The engine dies again and again while four partitions store, each replaying
// from its last checkpoint as it would after a crash: in the end every event is
// there once.
func TestOutage(t *testing.T) {
	e := engine(t)
	cfg := testConfig(e)
	cfg.BatchRows = 500
	s := open(t, cfg)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	const partitions, perRound = 4, 200
	var stored atomic.Int64
	over := make(chan struct{}) // closed after the last death
	var wg sync.WaitGroup
	for p := range partitions {
		wg.Go(func() {
			proc := processorOf(t, s.OpenEvents, eventsTopic, p)
			ended := false
			for offset := int64(0); !ended; {
				select {
				case <-over:
					ended = true // one more round, with the engine up
				default:
				}
				var records []stream.Record
				for range 3 * perRound {
					r := eventRecord(t, offset, fmt.Sprintf("agent%d", p), now)
					r.Partition = p
					records = append(records, r)
					offset++
				}
				for _, batch := range [][]stream.Record{records[:perRound], records, records[perRound:]} { // with replays
					if err := proc.Process(t.Context(), batch); err != nil {
						t.Error(err)
						return
					}
				}
				if err := proc.Checkpoint(t.Context()); err != nil {
					t.Error(err)
					return
				}
				stored.Add(int64(len(records)))
			}
		})
	}
	batches := func() float64 { return testutil.ToFloat64(s.metrics.batches.WithLabelValues("events")) }
	for range 3 {
		before, restarts := batches(), e.Restarts()
		eventually(t, "batches are stored", func() bool { return batches() >= before+3 })
		send(t, e, syscall.SIGKILL)
		eventually(t, "the engine is back", func() bool { return e.Restarts() > restarts && e.PID() != 0 })
	}
	close(over)
	wg.Wait()
	if got := counts(t, s).Events; got != uint64(stored.Load()) || got == 0 {
		t.Errorf("%d events, want %d", got, stored.Load())
	}
	t.Logf("%d events, %v batches, %d restarts", stored.Load(), batches(), e.Restarts())
	if err := s.Ready(); err != nil {
		t.Errorf("Ready() = %v after the outage", err)
	}
}

// While the engine hangs the queue fills up, Process waits, and readiness says
// so; when the engine goes on all rows are stored.
func TestBackpressure(t *testing.T) {
	e := engine(t)
	cfg := testConfig(e)
	cfg.BatchRows, cfg.Timeout = 10, time.Second
	s := open(t, cfg)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	send(t, e, syscall.SIGSTOP)
	proc := processorOf(t, s.OpenEvents, eventsTopic, 0)
	var records []stream.Record
	for i := range int64(100) {
		records = append(records, eventRecord(t, i, "a", now))
	}
	done := make(chan error, 1)
	go func() { done <- proc.Process(t.Context(), records) }()
	eventually(t, "the queue is full", func() bool { rows, _ := s.events.waiting(); return rows == queueBatches*cfg.BatchRows })
	eventually(t, "readiness is red", func() bool { return s.events.failing() != nil && s.Ready() != nil })
	if rows, oldest := s.events.waiting(); rows != queueBatches*cfg.BatchRows || oldest < cfg.Timeout {
		t.Errorf("%d rows wait, the oldest for %s; want %d, for %s or more", rows, oldest, queueBatches*cfg.BatchRows, cfg.Timeout)
	}
	select {
	case err := <-done:
		t.Fatalf("Process returned %v while the queue was full", err)
	default:
	}

	wantMetric(t, s, "stakeout_store_waiting_rows", float64(queueBatches*cfg.BatchRows))

	// Who waits is let go when its own context ends.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other := processorOf(t, s.OpenEvents, eventsTopic, 1)
	if err := other.Process(ctx, records[:1]); !errors.Is(err, context.Canceled) {
		t.Errorf("Process with a canceled context = %v", err)
	}

	send(t, e, syscall.SIGCONT)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := proc.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := counts(t, s).Events; got != 100 {
		t.Errorf("%d events, want 100", got)
	}
	if n := testutil.ToFloat64(s.metrics.retries.WithLabelValues("events")); n == 0 {
		t.Error("no retry was counted")
	}
	if err := s.Ready(); err != nil {
		t.Errorf("Ready() = %v after the outage", err)
	}
}

// wantMetric gathers the metrics as a scrape does and compares one of the table of events.
func wantMetric(t *testing.T, s *Store, name string, want float64) {
	t.Helper()
	families, err := s.metrics.reg.(prometheus.Gatherer).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && m.Label[0].GetValue() == "events" {
				if got := m.GetGauge().GetValue(); got != want {
					t.Errorf("%s = %v, want %v", name, got, want)
				}
				return
			}
		}
	}
	t.Errorf("there is no %s", name)
}

// Rows that ClickHouse never takes, and records that are no rows, are refused
// one by one; all others are stored, and nothing waits for ever.
func TestBadRows(t *testing.T) {
	s, _ := migrated(t)
	s.mustExec(t, "ALTER TABLE events ADD CONSTRAINT not_bad CHECK agent != 'bad'")
	var mu sync.Mutex
	refused := map[int64]string{}
	s.OnRefused(func(r Refused) {
		mu.Lock()
		defer mu.Unlock()
		refused[r.Offset] = r.Table
		if r.Topic != eventsTopic || r.Err == nil {
			t.Errorf("refused: %+v", r)
		}
	})
	var records []stream.Record
	for i := range int64(100) {
		agent := "good"
		if i == 17 || i == 18 || i == 99 {
			agent = "bad"
		}
		r := eventRecord(t, i, agent, now)
		if i == 50 {
			r.Value = []byte(`{"time":`)
		}
		records = append(records, r)
	}
	storeAll(t, s.OpenEvents, records...)
	if got := counts(t, s).Events; got != 96 {
		t.Errorf("%d events, want 96", got)
	}
	for _, offset := range []int64{17, 18, 50, 99} {
		if refused[offset] != "events" {
			t.Errorf("the record at offset %d was not refused", offset)
		}
	}
	if n := testutil.ToFloat64(s.metrics.refused.WithLabelValues("events")); n != 4 || len(refused) != 4 {
		t.Errorf("%v rows refused, %v counted; want 4", refused, n)
	}
	if err := s.Ready(); err != nil {
		t.Errorf("Ready() = %v", err)
	}
}

// A missing table costs no row: it may be made.
func TestMissingTable(t *testing.T) {
	s := open(t, testConfig(engine(t)))
	proc := processorOf(t, s.OpenEvents, eventsTopic, 0)
	if err := proc.Process(t.Context(), []stream.Record{eventRecord(t, 1, "a", now)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the batch fails", func() bool { return s.events.failing() != nil })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := proc.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := counts(t, s).Events; got != 1 {
		t.Errorf("%d events, want 1", got)
	}
}

// A row is stored when it is old enough, with no checkpoint and in a batch that is not full.
func TestBatchAge(t *testing.T) {
	s, _ := migrated(t)
	proc := processorOf(t, s.OpenEvents, eventsTopic, 0)
	if err := proc.Process(t.Context(), []stream.Record{eventRecord(t, 1, "a", now)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the row is stored", func() bool { return counts(t, s).Events == 1 })
}

// Whoever waits for a store that is closed is told so.
func TestClosed(t *testing.T) {
	e := engine(t)
	cfg := testConfig(e)
	cfg.BatchAge = time.Hour
	s := open(t, cfg)
	proc := processorOf(t, s.OpenEvents, eventsTopic, 0)
	if err := proc.Process(t.Context(), []stream.Record{eventRecord(t, 1, "a", now)}); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if err := proc.Checkpoint(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("Checkpoint of a closed store = %v", err)
	}
}
