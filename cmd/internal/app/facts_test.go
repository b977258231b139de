package app

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// theft is a log of two agents that work for days; then, three times, a token of one
// turns up at the other.
func theft() []stream.Record {
	var batch []stream.Record
	add := func(ev event.Event) {
		ev.ID = fmt.Sprint("e", len(batch))
		batch = append(batch, stream.Record{Topic: "stakeout.events", Offset: int64(len(batch)), Time: time.Now(), Key: []byte(ev.Agent), Value: ev.AppendJSON(nil)})
	}
	for i := range 220 {
		for _, agent := range []string{"ann", "bob"} {
			add(*use(agent, i))
		}
	}
	at := use("ann", 300).Time
	for i := range 3 {
		for n, agent := range []string{"ann", "bob"} {
			add(event.Event{Time: at + event.Timestamp(i*24+n)*event.Timestamp(time.Hour), Name: event.CredentialUse, Agent: agent, Session: fmt.Sprint(agent, i),
				CredentialID: fmt.Sprint("token-", i), CredentialIssuer: fmt.Sprintf("https://idp-%d.example", i)})
		}
	}
	return batch
}

// testSharing judges the facts of a detect role under test.
func testSharing(t testing.TB, d *detection) *sharing {
	t.Helper()
	metrics, err := newSharingMetrics(prometheus.NewRegistry())
	check(t, err)
	return &sharing{topics: d.topics, rules: d.rules, client: d.client, log: testLog(t), metrics: metrics, findings: d.metrics.findings, limit: 1000}
}

func (s *sharing) take(t testing.TB, next int64) *shared {
	t.Helper()
	p, err := s.open(testContext(t), stream.Owned{Topic: s.topics.Facts, Next: next})
	check(t, err)
	return p.(*shared)
}

// TestFactsAreFoundOnce kills the detect role between telling facts and its
// checkpoint, and the judge of facts between findings and its own: facts are told
// again, judged again, and each finding stays one.
func TestFactsAreFoundOnce(t *testing.T) {
	ctx, d := testContext(t), testDetection(t)
	s := testSharing(t, d)
	events := theft()
	alone, together := detect.New(d.rules), entity.New(d.rules)
	want := map[string]int{}
	for _, r := range events {
		var ev event.Event
		check(t, ev.UnmarshalJSON(r.Value))
		alone.Observe(&ev, r.Offset, event.Source{})
		for _, f := range alone.Facts() {
			for _, found := range together.Observe(&f) {
				want[found.ID] = 1
			}
		}
	}
	if len(want) != 3 {
		t.Fatalf("%d findings, want one for each token", len(want))
	}

	n := int64(len(events))
	killed := d.take(t, 0)
	check(t, killed.Process(ctx, events[:n-3]))
	told := int64(len(d.read(t, d.topics.Facts)))
	if held := testutil.ToFloat64(d.metrics.told); held != float64(told) {
		t.Errorf("told %d facts, by its metric %v", told, held)
	}
	judge := s.take(t, 0)
	check(t, judge.Process(ctx, d.read(t, d.topics.Facts)))
	if got := d.found(t); len(got) == 0 || len(got) == len(want) {
		t.Fatalf("%d findings half-way: the test shows nothing", len(got))
	}

	// Neither came to its checkpoint: both begin anew.
	check(t, d.take(t, 0).Process(ctx, events))
	again := d.read(t, d.topics.Facts)
	if int64(len(again)) < 2*told {
		t.Fatalf("%d facts after %d: none was told again", len(again), told)
	}
	check(t, s.take(t, 0).Process(ctx, again))
	got := d.found(t) // and wants each the same, byte for byte
	repeated := 0
	for id, n := range got {
		repeated += n - 1
		got[id] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-undisturbed +found):\n%s", diff)
	}
	if repeated == 0 {
		t.Error("no finding was sent again: the test shows nothing of that")
	}

	// Who takes over after the checkpoint learns what was and says nothing of it.
	last := s.take(t, int64(len(again)))
	if n := last.engine.Entities(); n != together.Entities() {
		t.Errorf("the next owner knows %d entities, want %d", n, together.Entities())
	}
	before := len(d.read(t, d.topics.Findings))
	check(t, last.Process(ctx, again))
	if after := len(d.read(t, d.topics.Findings)); after != before {
		t.Errorf("%d findings more of facts that were known", after-before)
	}
}

// TestPoisonedFacts has records among the facts that are none: each goes to the
// rejects, once, and the facts after it are judged.
func TestPoisonedFacts(t *testing.T) {
	ctx, d := testContext(t), testDetection(t)
	s := testSharing(t, d)
	out, err := d.client.NewProducer(ctx)
	check(t, err)
	for _, v := range []string{"", "no json", `{"kind":"rumour","entity":"x"}`} {
		out.Append(d.topics.Facts, 0, []byte("k"), []byte(v))
	}
	check(t, out.Flush(ctx))
	check(t, d.take(t, 0).Process(ctx, theft()))
	facts := d.read(t, d.topics.Facts)
	check(t, s.take(t, 0).Process(ctx, facts))
	if n := len(d.found(t)); n != 3 {
		t.Errorf("%d findings, want 3", n)
	}
	if n := len(d.read(t, d.topics.Rejects)); n != 3 {
		t.Errorf("%d rejects, want 3", n)
	}
	s.take(t, int64(len(facts))) // and they are skipped when they are read again
	if n := len(d.read(t, d.topics.Rejects)); n != 3 {
		t.Errorf("%d rejects after the next owner read them, want 3", n)
	}
	if n := testutil.ToFloat64(s.metrics.rejected); n != 3 {
		t.Errorf("%v rejects by the metric, want 3", n)
	}
}
