package detect

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/stakeout-project/stakeout/ingest/event"
)

var start = event.At(time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC))

// use is the i-th event of an agent that reads most of the time.
func use(agent string, i int) *event.Event {
	ev := &event.Event{Time: start + event.Timestamp(i)*event.Timestamp(10*time.Minute), Name: event.ToolCall, Agent: agent, Role: "support",
		ID: fmt.Sprintf("%s-%d", agent, i), Session: fmt.Sprintf("s%d", i/10), Tool: "crm_lookup", Privilege: "crm:read", Effect: event.Read,
		User: "ann", PrincipalScopes: []string{"crm:*", "mail:send"}}
	if i%5 == 0 {
		ev.Tool, ev.Privilege, ev.Effect = "send_mail", "mail:send", event.Send
		ev.ArgOrigins = event.Object[event.Origin]{{Key: "to", Value: event.FromUser}}
	}
	return ev
}

func export(agent string, i int) *event.Event {
	ev := use(agent, i)
	ev.Privilege, ev.Tool, ev.Effect = "crm:export", "crm_export", event.Share
	return ev
}

func grown(t testing.TB, n int) *Engine {
	t.Helper()
	e := New(DefaultRules())
	for i := range n {
		if f := e.Observe(use("a", i), int64(i), event.Source{}); len(f) > 0 {
			t.Fatalf("event %d of a steady agent: %+v", i, f)
		}
	}
	return e
}

func TestProfileIsSmallAndRoundTrips(t *testing.T) {
	if size := unsafe.Sizeof(Profile{}); size > 2048 {
		t.Errorf("a profile takes %d bytes, want at most 2048", size)
	}
	e := grown(t, 1000)
	for id, b := range e.Changed() {
		if len(b) > 2048 {
			t.Errorf("an encoded profile takes %d bytes, want at most 2048", len(b))
		}
		var p Profile
		if err := p.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		if p != e.agents.find(id).profile {
			t.Error("a profile is another after encoding and decoding")
		}
	}
	for range e.Changed() {
		t.Error("Changed yields a profile again that did not change since")
	}
}

func TestEncodingRefusesWhatItCannotRead(t *testing.T) {
	p := grown(t, 300).agents.find("a").profile
	good := p.AppendBinary(nil)
	f := func(name string, b []byte, want string) {
		t.Helper()
		var q Profile
		if err := q.UnmarshalBinary(b); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
	}
	f("nothing", nil, "is cut off")
	f("half", good[:len(good)/2], "is cut off")
	f("another version", append([]byte{encoding + 1}, good[1:]...), "has encoding version 5, this build reads 4")
	f("something after it", append(good, 0), "has 1 bytes too many")
}

func FuzzUnmarshalProfile(f *testing.F) {
	p := grown(f, 300).agents.find("a").profile
	f.Add(p.AppendBinary(nil))
	f.Add([]byte{encoding})
	f.Add([]byte("\x03" + strings.Repeat("0", 54))) // one wrong value, and more behind it
	f.Fuzz(func(t *testing.T, b []byte) {
		e := New(DefaultRules())
		if err := e.Restore("a", b); err != nil {
			return
		}
		e.Observe(use("a", 1000), 1<<62, event.Source{})
		for range e.Changed() {
		}
	})
}

// TestReplayChangesNothing stops an engine at every possible event, restores
// another one from its changelog and goes on from an earlier offset.
func TestReplayChangesNothing(t *testing.T) {
	const n = 420
	log := func(i int) *event.Event {
		if i >= 400 && i%5 == 1 {
			return export("a", i)
		}
		return use("a", i)
	}
	rules := DefaultRules()
	rules.Budget = 1 // so that a young agent is on watch
	want := New(rules)
	var wantFound []Finding
	for i := range n {
		wantFound = append(wantFound, want.Observe(log(i), int64(i), event.Source{})...)
	}
	if len(wantFound) == 0 {
		t.Fatal("nothing is found: the test would show nothing")
	}
	for stop := 395; stop < n; stop++ {
		first := New(rules)
		var found []Finding
		for i := range stop {
			found = append(found, first.Observe(log(i), int64(i), event.Source{})...)
		}
		second := New(rules)
		for id, b := range first.Changed() {
			if err := second.Restore(id, b); err != nil {
				t.Fatal(err)
			}
		}
		for i := stop - 50; i < n; i++ {
			found = append(found, second.Observe(log(i), int64(i), event.Source{})...)
		}
		if diff := cmp.Diff(wantFound, found); diff != "" {
			t.Fatalf("stopped at %d (-undisturbed +replayed):\n%s", stop, diff)
		}
		if first, second := want.agents.find("a").profile, second.agents.find("a").profile; first != second {
			t.Fatalf("stopped at %d: the profile is another one", stop)
		}
	}
}

// TestRepeatedEventsAreLeftOut sends events twice, as an ingest does after a
// crash, at new offsets of the log.
func TestRepeatedEventsAreLeftOut(t *testing.T) {
	src := func(i int) event.Source {
		return event.Source{Topic: "raw", Partition: i % 3, Offset: int64(i)}
	}
	once, twice := New(DefaultRules()), New(DefaultRules())
	offset := int64(0)
	send := func(e *Engine, i int) {
		ev := use("a", i)
		ev.ID = "" // only the source can tell
		e.Observe(ev, offset, src(i))
		offset++
	}
	for i := range 300 {
		send(once, i)
	}
	for i := range 200 {
		send(twice, i)
	}
	for i := 120; i < 300; i++ {
		send(twice, i)
	}
	if got := twice.Stats(); got.Judged != 300 || got.Repeated != 80 {
		t.Errorf("judged %d and left out %d, want 300 and 80", got.Judged, got.Repeated)
	}
	p, q := once.agents.find("a").profile, twice.agents.find("a").profile
	p.seen.applied, q.seen.applied = 0, 0
	if p != q {
		t.Error("repeated events changed the profile")
	}
}

// TestUnknownAgentsAreCounted has a known agent work on while strangers come: their events, and
// its own first ones, are counted as those of unknown agents.
func TestUnknownAgentsAreCounted(t *testing.T) {
	e := New(DefaultRules())
	for i := range 1000 {
		e.Observe(use("a", i), int64(i), event.Source{})
	}
	before := e.Stats()
	if before.Unknown < matureEvents || before.Unknown == before.Judged {
		t.Fatalf("%d of the %d events of an agent that becomes known were of an unknown one", before.Unknown, before.Judged)
	}
	for i := range 1000 {
		agent := "a"
		if i%4 == 0 {
			agent = fmt.Sprint("stranger-", i)
		}
		e.Observe(use(agent, 1000+i), int64(1000+i), event.Source{})
	}
	if got := e.Stats().Unknown - before.Unknown; got != 250 {
		t.Errorf("%d events of unknown agents, want 250", got)
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	e := grown(t, 1000)
	ev := use("a", 1001)
	ev.ID = ""
	offset := int64(2000)
	if n := testing.AllocsPerRun(1000, func() {
		e.Observe(ev, offset, event.Source{Topic: "raw", Offset: offset})
		offset++
	}); n != 0 {
		t.Errorf("an event without a finding allocates %v times, want 0", n)
	}
}

// TestBudgetHolds lets many agents surprise at random and counts findings, all of them false.
func TestBudgetHolds(t *testing.T) {
	const agents, days, perDay = 300, 30, 40
	realised := func(rate func(*rand.Rand) float64) float64 {
		rng := rand.New(rand.NewPCG(1, 2))
		e := New(DefaultRules())
		offset, found := int64(0), 0
		for a := range agents {
			rate := rate(rng)
			for i := range days * perDay {
				ev := use(fmt.Sprintf("agent-%d", a), i)
				ev.Time = start + event.Timestamp(i)*event.Timestamp(24*time.Hour/perDay)
				if rng.Float64() < rate/perDay {
					ev.Privilege, ev.Effect = fmt.Sprintf("odd:%d", rng.IntN(1000)), event.Share
				}
				found += len(e.Observe(ev, offset, event.Source{}))
				offset++
			}
		}
		return float64(found) / (agents * days)
	}
	rules := DefaultRules()
	prior := rules.Detectors[0].Detector.(FirstUse).Prior

	asBelieved := realised(func(rng *rand.Rand) float64 {
		return distuv.Gamma{Alpha: prior.A, Beta: prior.B, Src: rng}.Rand()
	})
	t.Logf("agents as the prior has them: %.4f false findings per agent-day, budget %.4f", asBelieved, rules.Budget)
	if asBelieved > rules.Budget {
		t.Errorf("agents as the prior has them: %.4f false findings per agent-day, budget %.4f", asBelieved, rules.Budget)
	}

	// Where the prior is wrong by a factor of about a hundred, an agent is believed after a few findings.
	const few = 4
	wild := realised(func(rng *rand.Rand) float64 { return 0.4 * rng.Float64() })
	t.Logf("agents a hundred times as surprising: %.4f false findings per agent-day", wild)
	if wild*days > few {
		t.Errorf("agents a hundred times as surprising: %.1f false findings an agent in %d days, want at most %d", wild*days, days, few)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, agents := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("agents=%d", agents), func(b *testing.B) {
			e := New(DefaultRules())
			events := make([]*event.Event, agents)
			for a := range events {
				events[a] = use(fmt.Sprintf("agent-%d", a), a%5)
				events[a].ID = ""
			}
			offset := int64(0)
			observe := func() {
				ev := events[int(offset)%agents]
				ev.Time += event.Timestamp(time.Minute)
				e.Observe(ev, offset, event.Source{Topic: "raw", Offset: offset})
				offset++
			}
			for range 2 * agents { // so that no agent is new
				observe()
			}
			b.ReportAllocs()
			for b.Loop() {
				observe()
			}
		})
	}
}

func BenchmarkAppendBinary(b *testing.B) {
	p := grown(b, 1000).agents.find("a").profile
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = p.AppendBinary(buf[:0])
	}
	b.SetBytes(int64(len(buf)))
}
