package store

import (
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/store/chdb"
	"github.com/stakeout-project/stakeout/store/chdb/chdbtest"
)

// TestMain lets the test binary be the engine's process.
func TestMain(m *testing.M) {
	chdbtest.Child()
	os.Exit(m.Run())
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// engine starts a ClickHouse engine for one test, or skips the test where there is none.
func engine(t testing.TB) *chdb.Engine {
	t.Helper()
	return engineIn(t, t.TempDir())
}

func engineIn(t testing.TB, dir string) *chdb.Engine {
	t.Helper()
	return chdbtest.Start(t, dir, "127.0.0.1:0")
}

func testConfig(e *chdb.Engine) Config {
	cfg := DefaultConfig()
	cfg.URL = e.URL()
	cfg.BatchAge = 50 * time.Millisecond
	cfg.Timeout = 10 * time.Second
	return cfg
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg, prometheus.NewPedanticRegistry(), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// migrated opens a store on a new engine, with its tables.
func migrated(t testing.TB) (*Store, *chdb.Engine) {
	t.Helper()
	e := engine(t)
	s := open(t, testConfig(e))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, e
}

func processorOf(t testing.TB, open stream.Opener, topic string, partition int) stream.Processor {
	t.Helper()
	p, err := open(t.Context(), stream.Owned{Topic: topic, Partition: partition})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// store processes records as one partition and checkpoints.
func storeAll(t testing.TB, open stream.Opener, records ...stream.Record) {
	t.Helper()
	p := processorOf(t, open, records[0].Topic, records[0].Partition)
	if err := p.Process(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	if err := p.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func counts(t testing.TB, s *Store) Counts {
	t.Helper()
	c, err := s.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// now is a time of Kafka records: a whole number of milliseconds.
var now = time.Now().UTC().Truncate(time.Millisecond)

// send signals the engine's process; there must be one, because process 0 is all of us.
func send(t testing.TB, e *chdb.Engine, sig syscall.Signal) {
	t.Helper()
	pid := e.PID()
	if pid == 0 {
		t.Error("the engine has no process")
		return
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Error(err)
	}
}
