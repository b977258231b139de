package store

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/store/chdb"
	"github.com/stakeout-project/stakeout/triage/command"
)

// spoil cuts a file of every part of tables short while the engine is down, so that
// the next one sets them aside, and returns that.
func spoil(t *testing.T, s *Store, e *chdb.Engine, dir string, tables ...string) *chdb.Engine {
	t.Helper()
	var paths []string
	for _, table := range tables {
		rows, err := s.admin.Query(t.Context(), "SELECT path FROM system.parts WHERE database = ? AND table = ? AND active", s.cfg.Database, table)
		if err != nil {
			t.Fatal(err)
		}
		before := len(paths)
		err = each(rows, func() error {
			paths = append(paths, "")
			return rows.Scan(&paths[len(paths)-1])
		})
		if err != nil || len(paths) == before {
			t.Fatalf("parts of %s: %v, want some", table, err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if err := os.Truncate(filepath.Join(path, "checksums.txt"), 0); err != nil {
			t.Fatal(err)
		}
	}
	return engineIn(t, dir)
}

// restoring runs [Store.RunRestore] until it is told to stop.
func restoring(t *testing.T, s *Store, o Origins) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.RunRestore(ctx, o); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); done.Wait() })
	t.Cleanup(stop)
	return stop
}

// TestRestore spoils parts of all tables while ClickHouse is down. It goes on
// without their rows, and the store fetches them from Kafka and JetStream.
func TestRestore(t *testing.T) {
	dir := t.TempDir()
	e := engineIn(t, dir)
	s := open(t, testConfig(e))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	kafka := local.DefaultKafkaConfig()
	kafka.Listen = "127.0.0.1:0"
	k, err := local.StartKafka(kafka, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	conf := stream.DefaultConfig()
	conf.Brokers = []string{k.Addr()}
	client, err := stream.Open(conf, prometheus.NewRegistry(), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	js := jetStream(t, natsServer(t, t.TempDir(), -1))
	if err := command.Provision(t.Context(), js, command.DefaultLayout()); err != nil {
		t.Fatal(err)
	}
	by := signer(t)
	o := Origins{Kafka: client, Events: eventsTopic, Findings: "stakeout.findings", Profiles: "stakeout.profiles", Rejects: "stakeout.rejects",
		JetStream: js, Keys: command.Keyring{Triage: []string{by.Public()}}}
	var topics []stream.Topic
	for _, name := range []string{o.Events, o.Findings, o.Profiles, o.Rejects} {
		topics = append(topics, stream.Topic{Name: name, Partitions: 1})
	}
	if err := client.EnsureTopics(t.Context(), topics...); err != nil {
		t.Fatal(err)
	}

	// Half of the events are of another day, which stays whole.
	today, yesterday := time.Now(), time.Now().Add(-24*time.Hour)
	const events = 200
	out, err := client.NewProducer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var old, recent []stream.Record
	for i := range int64(events) {
		at := yesterday
		if i%2 == 0 {
			at = today
		}
		r := eventRecord(t, i, "clerk", at)
		out.AppendAt(at, o.Events, 0, r.Key, r.Value, r.Headers...)
		if i%2 == 0 {
			recent = append(recent, r)
		} else {
			old = append(old, r)
		}
	}
	reject, err := json.Marshal(Reject{Topic: "stakeout.raw", Offset: 7, Time: now, Reason: "is no event"})
	if err != nil {
		t.Fatal(err)
	}
	out.AppendAt(today, o.Rejects, 0, nil, reject)
	if err := out.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, js, by, outcomeOf("a1", "clerk", command.Verified, now))

	storeAll(t, s.OpenEvents, old...)
	e = spoil(t, s, e, dir, "events") // yesterday's: these are put back by hand, below
	s = open(t, testConfig(e))
	stop := restoring(t, s, o)
	eventually(t, "yesterday's part is set aside", func() bool { return testutil.ToFloat64(s.metrics.aside) == 1 })
	if c := counts(t, s); c.Events != 0 {
		t.Fatalf("%d events, want none: another process is to fetch them", c.Events)
	}
	stop()

	// The process that owns the first partition fetches them, after it has stored what is new.
	storeAll(t, s.OpenEvents, recent...)
	restoring(t, s, o)
	eventually(t, "yesterday's events are back", func() bool {
		return counts(t, s).Events == events && testutil.ToFloat64(s.metrics.aside) == 0
	})
	if n := testutil.ToFloat64(s.metrics.restored.WithLabelValues("events")); n != events/2 {
		t.Errorf("%v events stored again, want the %d that were missing", n, events/2)
	}
	if n := testutil.ToFloat64(s.metrics.lost); n != 0 {
		t.Errorf("%v parts lost, want none", n)
	}
}
