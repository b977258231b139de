package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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
	return &sharing{topics: d.topics, groups: DefaultConfig().Groups, cfg: Detection{MaxEntities: 1000, Settle: 50 * time.Millisecond, Stalled: time.Second},
		rules: d.rules, client: d.client, log: testLog(t), metrics: metrics, findings: d.metrics.findings}
}

// read returns the facts and the cuts between them.
func (s *sharing) read(t testing.TB) (got []stream.Record) {
	t.Helper()
	_, err := s.client.ReadPartition(testContext(t), s.topics.Facts, 0, -1, func(r *stream.Record) error {
		c := stream.Record{Topic: r.Topic, Offset: r.Offset, Time: r.Time, Value: slices.Clone(r.Value)}
		for _, h := range r.Headers {
			c.Headers = append(c.Headers, stream.Header{Key: h.Key, Value: slices.Clone(h.Value)})
		}
		got = append(got, c)
		return nil
	})
	check(t, err)
	return got
}

// cut lets everything be judged that was told.
func (s *sharing) cut(t testing.TB) {
	t.Helper()
	out, err := s.client.NewProducer(testContext(t))
	check(t, err)
	value, err := entity.Cut{Until: 1 << 62}.Encode()
	check(t, err)
	out.Append(s.topics.Facts, 0, nil, value, stream.Header{Key: CutHeader})
	check(t, out.Flush(testContext(t)))
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
	told := int64(len(s.read(t)))
	if held := testutil.ToFloat64(d.metrics.told); held != float64(told) {
		t.Errorf("told %d facts, by its metric %v", told, held)
	}
	judge := s.take(t, 0)
	check(t, judge.Process(ctx, s.read(t)))
	if n := len(d.found(t)); n != 0 {
		t.Fatalf("%d findings before all was told that comes before", n)
	}
	s.cut(t)
	check(t, judge.Process(ctx, s.read(t)[told:]))
	if got := d.found(t); len(got) == 0 || len(got) == len(want) {
		t.Fatalf("%d findings half-way: the test shows nothing", len(got))
	}

	// Neither came to its checkpoint: both begin anew.
	check(t, d.take(t, 0).Process(ctx, events))
	s.cut(t)
	again := s.read(t)
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

	// Who takes over between a fact and its cut holds the fact back.
	held := s.take(t, int64(len(again))-1)
	if n := held.queue.Len(); n == 0 {
		t.Error("the next owner holds no fact back")
	}
	check(t, held.Process(ctx, again[len(again)-1:]))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(d.found(t)))); diff != "" {
		t.Errorf("findings after a takeover (-undisturbed +found):\n%s", diff)
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

// TestVerdictReachesWhatIsShared calls findings about shared tokens false, among the events
// of their agent: that is told among the facts of their kind, and judged in its place.
func TestVerdictReachesWhatIsShared(t *testing.T) {
	ctx, d := testContext(t), testDetection(t)
	s := testSharing(t, d)
	watch, judge, events := d.take(t, 0), s.take(t, 0), theft()
	judged := 0
	judgeAll := func() {
		t.Helper()
		s.cut(t)
		facts := s.read(t)
		check(t, judge.Process(ctx, facts[judged:]))
		judged = len(facts)
	}
	n := len(events) - 2 // the last theft is to come
	check(t, watch.Process(ctx, events[:n]))
	judgeAll()
	found := d.read(t, d.topics.Findings)
	if len(found) != 2 {
		t.Fatalf("%d findings, want 2", len(found))
	}
	for i := range 3 {
		var f detect.Finding
		check(t, json.Unmarshal(found[0].Value, &f))
		v := detect.Verdict{False: true, Detectors: []string{f.Detector}, Novel: f.Novel}
		ev := event.Event{Time: event.At(time.Now()), Name: event.ConfigChange, Agent: f.Agent, ID: fmt.Sprint("verdict", i)}
		check(t, watch.Process(ctx, []stream.Record{{Topic: d.topics.Events, Offset: int64(n + i), Time: time.Now(), Key: []byte(f.Agent), Value: ev.AppendJSON(nil),
			Headers: []stream.Header{operation(v.Operation())}}}))
	}
	told := 0
	for _, r := range s.read(t)[judged:] {
		f, err := detect.ParseFact(r.Value)
		check(t, err)
		if v, ok := f.VerdictOf(); !ok || !v.False || f.Kind != detect.CredentialFact {
			t.Errorf("told is %s, want a verdict", r.Value)
		}
		told++
	}
	if told != 3 {
		t.Errorf("%d verdicts are told, want 3", told)
	}
	judgeAll()
	if n := testutil.ToFloat64(s.metrics.rejected) + testutil.ToFloat64(d.metrics.rejected); n != 0 {
		t.Errorf("%v records are refused", n)
	}
	if again := d.read(t, d.topics.Findings); len(again) != len(found) {
		t.Errorf("verdicts have led to %d findings", len(again)-len(found))
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
	out.Append(d.topics.Facts, 0, nil, []byte("no cut"), stream.Header{Key: CutHeader})
	check(t, out.Flush(ctx))
	check(t, d.take(t, 0).Process(ctx, theft()))
	s.cut(t)
	facts := s.read(t)
	check(t, s.take(t, 0).Process(ctx, facts))
	if n := len(d.found(t)); n != 3 {
		t.Errorf("%d findings, want 3", n)
	}
	if n := len(d.read(t, d.topics.Rejects)); n != 4 {
		t.Errorf("%d rejects, want 4", n)
	}
	s.take(t, int64(len(facts))) // and they are skipped when they are read again
	if n := len(d.read(t, d.topics.Rejects)); n != 4 {
		t.Errorf("%d rejects after the next owner read them, want 4", n)
	}
	if n := testutil.ToFloat64(s.metrics.rejected); n != 4 {
		t.Errorf("%v rejects by the metric, want 4", n)
	}
}
