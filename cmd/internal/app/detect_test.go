package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testDetection is the detect role over an embedded broker, one partition a topic.
func testDetection(t testing.TB, change ...func(*detection)) *detection {
	t.Helper()
	kafka := local.DefaultKafkaConfig()
	kafka.Listen, kafka.Dir = "127.0.0.1:0", t.TempDir()
	k, err := local.StartKafka(kafka, testLog(t))
	check(t, err)
	t.Cleanup(func() { check(t, k.Close()) })
	topics := DefaultTopics()
	topics.Partitions = 1
	d := &detection{topics: topics, rules: detect.DefaultRules(), log: testLog(t), cfg: Detection{MaxAgents: 1000}, decode: (*event.Decoder).Decode}
	for _, f := range change {
		f(d)
	}
	cfg := stream.DefaultConfig()
	cfg.Brokers, cfg.CheckpointInterval, cfg.FetchMaxWait = []string{k.Addr()}, 100*time.Millisecond, 50*time.Millisecond
	cfg.HeartbeatInterval = 200 * time.Millisecond
	d.client, err = stream.Open(cfg, prometheus.NewRegistry(), testLog(t))
	check(t, err)
	t.Cleanup(d.client.Close)
	d.metrics, err = newDetectionMetrics(prometheus.NewRegistry(), d.rules)
	check(t, err)
	check(t, d.client.EnsureTopics(testContext(t), topics.All()...))
	return d
}

// use is the i-th event, one in two hours, of an agent that reads most of the time. Every 50th
// from the 300th on exports, which it never did.
func use(agent string, i int) *event.Event {
	ev := &event.Event{Time: event.At(time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC).Add(time.Duration(i) * 2 * time.Hour)),
		Name: event.ToolCall, Agent: agent, Role: "support", ID: fmt.Sprintf("%s-%d", agent, i), Session: fmt.Sprintf("s%d", i/10),
		Tool: "crm_lookup", Privilege: "crm:read", Effect: event.Read, User: "ann", PrincipalScopes: []string{"crm:*"}}
	if i >= 300 && i%50 == 0 {
		ev.Privilege, ev.Tool, ev.Effect = fmt.Sprintf("crm:export-%d", i), "crm_export", event.Share
	}
	return ev
}

func records(from, to int, agents ...string) []stream.Record {
	var batch []stream.Record
	for i := from; i < to; i++ {
		for _, a := range agents {
			batch = append(batch, stream.Record{Topic: "stakeout.events", Offset: int64(len(batch) + from*len(agents)),
				Time: time.Now(), Key: []byte(a), Value: use(a, i).AppendJSON(nil)})
		}
	}
	return batch
}

func (d *detection) read(t testing.TB, topic string) (got []stream.Record) {
	t.Helper()
	_, err := d.client.ReadPartition(testContext(t), topic, 0, -1, func(r *stream.Record) error {
		got = append(got, stream.Record{Offset: r.Offset, Key: slices.Clone(r.Key), Value: slices.Clone(r.Value)})
		return nil
	})
	check(t, err)
	return got
}

// found counts findings by id, and wants that those with one id are one.
func (d *detection) found(t testing.TB) map[string]int {
	t.Helper()
	count, text := map[string]int{}, map[string]string{}
	for _, r := range d.read(t, d.topics.Findings) {
		var f detect.Finding
		check(t, json.Unmarshal(r.Value, &f))
		if was, ok := text[f.ID]; ok && was != string(r.Value) {
			t.Errorf("finding %s is\n%s\nand\n%s", f.ID, was, r.Value)
		}
		count[f.ID]++
		text[f.ID] = string(r.Value)
	}
	return count
}

func (d *detection) take(t testing.TB, next int64) *watch {
	t.Helper()
	p, err := d.open(testContext(t), stream.Owned{Topic: d.topics.Events, Next: next})
	check(t, err)
	return p.(*watch)
}

// TestEvictedOwnerChangesNothing lets an owner go on after another has taken
// over, as one does that was frozen in the middle of a checkpoint.
func TestEvictedOwnerChangesNothing(t *testing.T) {
	ctx, d := testContext(t), testDetection(t)
	agents := []string{"a", "b", "c"}
	undisturbed := detect.New(d.rules)
	want := map[string]int{}
	for _, r := range records(0, 600, agents...) {
		var ev event.Event
		check(t, ev.UnmarshalJSON(r.Value))
		for _, f := range undisturbed.Observe(&ev, r.Offset, event.Source{}) {
			want[f.ID]++
		}
	}
	if len(want) < 3 {
		t.Fatalf("%d findings: the test would show nothing", len(want))
	}

	zombie := d.take(t, 0)
	check(t, zombie.Process(ctx, records(0, 310, agents...)))
	check(t, zombie.Checkpoint(ctx))
	check(t, zombie.Process(ctx, records(310, 400, agents...))) // frozen before its checkpoint

	owner := d.take(t, 310*3)
	if owner.engine.Agents() != 3 {
		t.Fatalf("the next owner restores %d agents, want 3", owner.engine.Agents())
	}
	check(t, owner.Process(ctx, records(310, 500, agents...)))
	check(t, owner.Checkpoint(ctx))
	changelog := d.read(t, d.topics.Profiles)

	if err := zombie.Checkpoint(ctx); !errors.Is(err, stream.ErrFenced) {
		t.Errorf("the evicted owner's checkpoint: %v, want ErrFenced", err)
	}
	check(t, zombie.Process(ctx, records(400, 420, agents...))) // findings have ids: they are harmless
	if err := zombie.Checkpoint(ctx); !errors.Is(err, stream.ErrFenced) {
		t.Errorf("the evicted owner's next checkpoint: %v, want ErrFenced", err)
	}
	if diff := cmp.Diff(changelog, d.read(t, d.topics.Profiles)); diff != "" {
		t.Errorf("the evicted owner changed the changelog (-before +after):\n%s", diff)
	}

	last := d.take(t, 500*3)
	check(t, last.Process(ctx, records(500, 600, agents...)))
	check(t, last.Checkpoint(ctx))
	got := d.found(t)
	repeated := 0
	for id, n := range got {
		repeated += n - 1
		got[id] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-undisturbed +found):\n%s", diff)
	}
	if repeated == 0 {
		t.Error("no finding was sent twice: the test shows nothing of that")
	}
	for id, p := range undisturbed.Changed() {
		for got, q := range last.engine.Changed() {
			if got == id && string(p) != string(q) {
				t.Errorf("the profile of %s is another", id)
			}
		}
	}
}

// mine is a detector that a record can make panic.
type mine struct{ detect.FirstUse }

func (m mine) Judge(v detect.View) detect.Test {
	if v.Event.Tool == "mine" {
		panic("stepped on a mine")
	}
	return m.FirstUse.Judge(v)
}

// TestPoison has records that make the decoder and a detector panic. Each goes
// to the rejects, once, and no crash follows from it, now or after a restart.
func TestPoison(t *testing.T) {
	d := testDetection(t, func(d *detection) {
		prior := d.rules.Detectors[0].Detector.(detect.FirstUse)
		d.rules.Detectors = slices.Clone(d.rules.Detectors)
		d.rules.Detectors[0].Detector = mine{prior}
		d.decode = func(dec *event.Decoder, line []byte, ev *event.Event) error {
			if strings.Contains(string(line), "poison") {
				panic("the decoder choked")
			}
			return dec.Decode(line, ev)
		}
	})
	ctx := testContext(t)
	out, err := d.client.NewProducer(ctx)
	check(t, err)
	send := func(from, to int) {
		for _, r := range records(from, to, "a", "b") {
			out.Append(d.topics.Events, 0, r.Key, r.Value)
		}
		check(t, out.Flush(ctx))
	}
	bad := func(tool string) {
		ev := use("a", 1000)
		ev.ID, ev.Tool = tool, tool
		out.Append(d.topics.Events, 0, []byte("a"), ev.AppendJSON(nil))
		check(t, out.Flush(ctx))
	}
	// reach runs the role until it has gone past n records.
	reach := func(group string, n float64) {
		t.Helper()
		before := testutil.ToFloat64(d.metrics.judged) + testutil.ToFloat64(d.metrics.repeated) + testutil.ToFloat64(d.metrics.rejected)
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			done <- d.client.Run(ctx, stream.Group{Name: group, Topics: []string{d.topics.Events}}, d.open)
		}()
		for before+n > testutil.ToFloat64(d.metrics.judged)+testutil.ToFloat64(d.metrics.repeated)+testutil.ToFloat64(d.metrics.rejected) {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("the partition does not go on: %v judged, %v rejected", testutil.ToFloat64(d.metrics.judged), testutil.ToFloat64(d.metrics.rejected))
			}
		}
		cancel()
		check(t, <-done)
	}
	rejected := func() (all []ingest.Reject) {
		for _, r := range d.read(t, d.topics.Rejects) {
			var rej ingest.Reject
			check(t, json.Unmarshal(r.Value, &rej))
			all = append(all, rej)
		}
		return all
	}

	send(0, 320)
	bad("poison")
	send(320, 340)
	bad("mine")
	send(340, 400)
	reach("first", 802)
	rejects := rejected()
	if len(rejects) != 2 {
		t.Fatalf("rejects %+v, want 2", rejects)
	}
	for i, want := range []struct {
		offset       int64
		reason, code string
	}{{640, "the decoder choked", "detect_test.go"}, {681, "stepped on a mine", "mine.Judge"}} {
		r := rejects[i]
		if r.Topic != d.topics.Events || r.Partition != 0 || r.Offset != want.offset || !strings.Contains(r.Reason, want.reason) || !strings.Contains(r.Stack, want.code) {
			t.Errorf("reject %d is %+v, want offset %d, %q and a stack with %s", i, r, want.offset, want.reason, want.code)
		}
	}
	found := d.found(t)
	if len(found) == 0 {
		t.Error("nothing is found after the poison")
	}

	// Another process goes on behind it.
	send(400, 410)
	reach("first", 20)
	if n := len(rejected()); n != 2 {
		t.Errorf("%d rejects after a restart, want 2", n)
	}
	found = d.found(t)
	// One that lost its place reads it again, and again gets past it.
	reach("second", 822)
	for _, r := range rejected()[2:] {
		r.Stack, rejects[0].Stack = "", "" // holds addresses
		if diff := cmp.Diff(rejects[0], r); diff != "" {
			t.Errorf("the same record is rejected otherwise (-first +again):\n%s", diff)
		}
	}
	for id := range d.found(t) {
		if found[id] == 0 {
			t.Errorf("finding %s comes from reading again", id)
		}
	}
}

// TestFloodOfAgents sends a partition more agents than it keeps. The next owner
// restores those that are left, and no others.
func TestFloodOfAgents(t *testing.T) {
	const limit, flood = 500, 20_000
	d := testDetection(t, func(d *detection) { d.cfg.MaxAgents = limit })
	ctx := testContext(t)
	owner := d.take(t, 0)
	var want []string
	for from := 0; from < flood; from += 100 {
		var batch []stream.Record
		for i := from; i < from+100; i++ {
			agent := fmt.Sprintf("new-%05d", i)
			batch = append(batch, stream.Record{Topic: d.topics.Events, Offset: int64(i), Time: time.Now(), Key: []byte(agent), Value: use(agent, i).AppendJSON(nil)})
			if i >= flood-limit {
				want = append(want, agent)
			}
		}
		check(t, owner.Process(ctx, batch))
		check(t, owner.Checkpoint(ctx))
	}
	if n := owner.engine.Agents(); n != limit {
		t.Errorf("holds %d agents, want %d", n, limit)
	}
	if n := testutil.ToFloat64(d.metrics.forgotten); n != flood-limit {
		t.Errorf("forgotten_agents_total is %v, want %d", n, flood-limit)
	}
	if n := testutil.ToFloat64(d.metrics.agents.WithLabelValues("0")); n != limit {
		t.Errorf("agents is %v, want %d", n, limit)
	}
	kept := map[string]bool{}
	for _, r := range d.read(t, d.topics.Profiles) {
		kept[string(r.Key)] = r.Value != nil
	}
	maps.DeleteFunc(kept, func(_ string, there bool) bool { return !there })
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(kept))); diff != "" {
		t.Errorf("the changelog keeps (-want +got):\n%s", diff)
	}
	if n := d.take(t, flood).engine.Agents(); n != limit {
		t.Errorf("the next owner restores %d agents, want %d", n, limit)
	}
}
