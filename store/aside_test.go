package store

import (
	"context"
	"encoding/json"
	"errors"
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

// originsOf starts a broker with the topics that tables come from, a partition each.
func originsOf(t *testing.T) (Origins, *stream.Client) {
	t.Helper()
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
	o := Origins{Kafka: client, Events: eventsTopic, Findings: "stakeout.findings", Profiles: "stakeout.profiles", Rejects: "stakeout.rejects"}
	var topics []stream.Topic
	for _, name := range []string{o.Events, o.Findings, o.Profiles, o.Rejects} {
		topics = append(topics, stream.Topic{Name: name, Partitions: 1})
	}
	if err := client.EnsureTopics(t.Context(), topics...); err != nil {
		t.Fatal(err)
	}
	return o, client
}

// produce writes records to their topics, in their order.
func produce(t *testing.T, client *stream.Client, records ...stream.Record) {
	t.Helper()
	out, err := client.NewProducer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		out.AppendAt(r.Time, r.Topic, 0, r.Key, r.Value, r.Headers...)
	}
	if err := out.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRestore spoils parts of tables while ClickHouse is down. It goes on without
// their rows, and the store fetches them from Kafka.
func TestRestore(t *testing.T) {
	dir := t.TempDir()
	e := engineIn(t, dir)
	s := open(t, testConfig(e))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	o, client := originsOf(t)
	const events = 200
	today, yesterday := time.Now(), time.Now().Add(-24*time.Hour)
	var all, old, recent []stream.Record
	for i := range int64(events) {
		if i%2 == 0 {
			recent = append(recent, eventRecord(t, i, "clerk", today))
			all = append(all, recent[len(recent)-1])
			continue
		}
		old = append(old, eventRecord(t, i, "clerk", yesterday))
		all = append(all, old[len(old)-1])
	}
	line, err := json.Marshal(Reject{Topic: "stakeout.raw", Offset: 7, Time: now, Reason: "is no event"})
	if err != nil {
		t.Fatal(err)
	}
	reject := stream.Record{Topic: o.Rejects, Time: today, Value: line}
	produce(t, client, append(all, reject)...)

	storeAll(t, s.OpenEvents, old...)
	storeAll(t, s.OpenRejects, reject)
	e = spoil(t, s, e, dir, "events", "rejects")
	s = open(t, testConfig(e))
	stop := restoring(t, s, o)
	eventually(t, "the parts are set aside", func() bool { return testutil.ToFloat64(s.metrics.aside) == 2 })
	if c := counts(t, s); c.Events != 0 || c.Rejects != 0 {
		t.Fatalf("%d events and %d rejects, want none: another process is to fetch them", c.Events, c.Rejects)
	}
	stop()

	// The process that owns the first partition fetches them. Today's events, which it
	// stores before that, are not missing.
	storeAll(t, s.OpenEvents, recent...)
	restoring(t, s, o)
	eventually(t, "the rows are back, and the parts gone", func() bool {
		c := counts(t, s)
		return c.Events == events && c.Rejects == 1 && testutil.ToFloat64(s.metrics.aside) == 0
	})
	for table, want := range map[string]float64{"events": events / 2, "rejects": 1, "findings": 0} {
		if n := testutil.ToFloat64(s.metrics.restored.WithLabelValues(table)); n != want {
			t.Errorf("%v rows of %s stored again, want the %v that were missing", n, table, want)
		}
	}
	if n := testutil.ToFloat64(s.metrics.lost); n != 0 {
		t.Errorf("%v parts lost, want none", n)
	}
}

// forgetful is a Kafka that keeps no record before an offset.
type forgetful struct {
	Source
	first int64
}

func (f forgetful) Offsets(ctx context.Context, topic string) ([]stream.Range, error) {
	ranges, err := f.Source.Offsets(ctx, topic)
	for i := range ranges {
		ranges[i].First = min(f.first, ranges[i].Next)
	}
	return ranges, err
}

// TestRestoreTellsWhatIsLost has Kafka forget the first of the events that are
// missing: the others come back, and the part stays until a person drops it.
func TestRestoreTellsWhatIsLost(t *testing.T) {
	dir := t.TempDir()
	e := engineIn(t, dir)
	s := open(t, testConfig(e))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	o, client := originsOf(t)
	var records []stream.Record
	for i := range int64(10) {
		records = append(records, eventRecord(t, i, "clerk", time.Now()))
	}
	produce(t, client, records...)
	storeAll(t, s.OpenEvents, records...)
	e = spoil(t, s, e, dir, "events")
	s = open(t, testConfig(e))
	processorOf(t, s.OpenEvents, eventsTopic, 0)
	away := &unreachable{Source: o.Kafka}
	o.Kafka = away
	var again patience
	for i := range 3 {
		if err := s.restoreAside(t.Context(), o, map[part]fate{}, &again); (err != nil) != (i == 0) || away.asked != 1 {
			t.Fatalf("look %d at once after the others: %v, Kafka was asked %d times; want it once", i, err, away.asked)
		}
	}
	o.Kafka = forgetful{away.Source, 1}
	stop := restoring(t, s, o)
	eventually(t, "what is kept is back, and the loss is told", func() bool {
		return counts(t, s).Events == 9 && testutil.ToFloat64(s.metrics.lost) == 1 && testutil.ToFloat64(s.metrics.aside) == 1
	})
	stop()
	parts, err := s.aside(t.Context())
	if err != nil || len(parts) != 1 {
		t.Fatalf("parts set aside: %v, %v; want one", parts, err)
	}
	fates := map[part]fate{parts[0]: lost}
	if err := s.forget(t.Context(), parts[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.restoreAside(t.Context(), o, fates, &patience{}); err != nil || len(fates) != 0 || testutil.ToFloat64(s.metrics.lost) != 0 {
		t.Errorf("after a person has dropped the part: %v, %v; want nothing lost any more", fates, err)
	}
}

// unreachable is a Kafka that does not answer.
type unreachable struct {
	Source
	asked int
}

func (k *unreachable) Offsets(context.Context, string) ([]stream.Range, error) {
	k.asked++
	return nil, errors.New("no broker")
}

// trimmed is a Kafka whose retention deletes the first records of every topic after
// it was asked for the offsets.
type trimmed struct {
	Source
	asked map[string]bool
}

const trimmedTo = 3

func (k trimmed) Offsets(ctx context.Context, topic string) ([]stream.Range, error) {
	ranges, err := k.Source.Offsets(ctx, topic)
	for i := range ranges {
		if k.asked[topic] {
			ranges[i].First = min(trimmedTo, ranges[i].Next)
		}
	}
	k.asked[topic] = true
	return ranges, err
}

func (k trimmed) ReadPartition(ctx context.Context, topic string, partition int, from int64, fn func(*stream.Record) error) (int64, error) {
	return k.Source.ReadPartition(ctx, topic, partition, max(from, trimmedTo), fn)
}

// TestRestoreWhileKafkaForgets has retention delete records between the first look at
// a topic and its reading: what was in them is not taken for stored.
func TestRestoreWhileKafkaForgets(t *testing.T) {
	s, _ := migrated(t)
	o, client := originsOf(t)
	at := time.Now()
	for i := range int64(6) {
		line, err := json.Marshal(Reject{Topic: "stakeout.raw", Offset: i, Time: now, Reason: "is no event"})
		if err != nil {
			t.Fatal(err)
		}
		produce(t, client, eventRecord(t, i, "clerk", at), stream.Record{Topic: o.Rejects, Time: at, Value: line})
	}
	o.Kafka = trimmed{o.Kafka, map[string]bool{}}
	today := part{partition: at.UTC().Format("20060102")}
	for _, table := range []string{"events", "rejects"} {
		rows, whole, err := s.restore(t.Context(), o, table, []part{today})
		if err != nil || rows != 6-trimmedTo || whole(today) {
			t.Errorf("%s: %d rows, whole %t, %v; want %d, false", table, rows, err == nil && whole(today), err, 6-trimmedTo)
		}
	}
}

// TestRestoreOnce has ClickHouse refuse to drop a part whose rows are stored again:
// they are not fetched again and again.
func TestRestoreOnce(t *testing.T) {
	s, _ := migrated(t)
	fates := map[part]fate{}
	p := part{"rejects", "20261123", "broken-on-start_20261123_1_1_0"}
	o, client := originsOf(t)
	line, err := json.Marshal(Reject{Topic: "stakeout.raw", Offset: 7, Time: now, Reason: "is no event"})
	if err != nil {
		t.Fatal(err)
	}
	produce(t, client, stream.Record{Topic: o.Rejects, Time: time.Now(), Value: line})
	for range 3 {
		if left, err := s.settle(t.Context(), o, []part{p}, fates); err == nil || len(left) != 1 {
			t.Fatalf("%v left, %v: a part that is not there is dropped", left, err)
		}
	}
	if n := testutil.ToFloat64(s.metrics.restored.WithLabelValues("rejects")); n != 1 {
		t.Errorf("%v rows stored again in three looks, want one", n)
	}
}

// TestAuditWaitsForItsRows has all of the audit log set aside: the next message does
// not begin it anew, for the rows before it come back.
func TestAuditWaitsForItsRows(t *testing.T) {
	dir := t.TempDir()
	e := engineIn(t, dir)
	s := open(t, testConfig(e))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	chain := func(stream string, seqs ...uint64) error {
		var rows []AuditRow
		for _, seq := range seqs {
			rows = append(rows, AuditRow{Stream: stream, Seq: seq, Time: now})
		}
		return s.chain(t.Context(), stream, rows)
	}
	if err := chain(command.Acks, 1, 2); err != nil {
		t.Fatal(err)
	}
	e = spoil(t, s, e, dir, "audit")
	s = open(t, testConfig(e))
	if err := chain(command.Acks, 3); err == nil {
		t.Error("the log begins anew while the rows before are set aside")
	}
	if err := chain(command.Actions, 1); err != nil {
		t.Errorf("the first row of a stream: %v", err)
	}
	parts, err := s.aside(t.Context())
	if err != nil || len(parts) == 0 {
		t.Fatalf("parts set aside: %v, %v; want some", parts, err)
	}
	for _, p := range parts {
		if err := s.forget(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if err := chain(command.Acks, 3); err != nil {
		t.Errorf("after a person has dropped the parts: %v", err)
	}
}
