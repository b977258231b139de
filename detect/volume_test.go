package detect

import (
	"fmt"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// mail is the i-th event of an agent that looks something up and mails a few
// kilobytes, some times an hour, and says of everything how much it is.
func mail(i int) *event.Event {
	ev := use("a", i)
	ev.Resource, ev.ArgHashes = "contact", event.Object[[]string]{{Key: "name", Value: []string{fmt.Sprint(i)}}}
	switch i % 5 {
	case 0:
		ev.Destination, ev.Bytes = fmt.Sprintf("%c@partner.example", 'a'+i/5%4), event.Some(int64(1000+i*7919%6000))
	case 1:
		ev.Name, ev.Tool, ev.Privilege, ev.Effect = event.ModelCall, "", "", ""
		ev.InputTokens, ev.OutputTokens = event.Some(int64(2000+i*104729%3000)), event.Some(int64(300))
	}
	return ev
}

// mailing is an engine that knows such an agent.
func mailing(t testing.TB, n int) *Engine {
	t.Helper()
	e := New(DefaultRules())
	for i := range n {
		if f := e.Observe(mail(i), int64(i), event.Source{}); len(f) > 0 {
			t.Fatalf("event %d of a steady agent: %+v", i, f)
		}
	}
	return e
}

func TestVolumesRoundTrip(t *testing.T) {
	e := mailing(t, 1000)
	want := e.agents.find("a").profile
	if v := want.volumes; !v.sizes[0].bytes.known() || !v.hourly[bytesOut].known() || !v.hourly[spending].known() || v.calls.n == 0 || v.known.contacts == 0 {
		t.Errorf("a thousand events taught nothing: %+v", v)
	}
	var got Profile
	if err := got.UnmarshalBinary(want.AppendBinary(nil)); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Error("a profile with volumes is another after encoding and decoding")
	}
}

func TestVolumesAllocateNothing(t *testing.T) {
	e := mailing(t, 1000)
	events := []*event.Event{mail(1000), mail(1001), mail(1002)}
	for _, ev := range events {
		ev.ID = ""
	}
	offset := int64(2000)
	if n := testing.AllocsPerRun(1000, func() {
		ev := events[offset%3]
		ev.Time = start + event.Timestamp(offset)*event.Timestamp(10*time.Minute)
		e.Observe(ev, offset, event.Source{})
		offset++
	}); n != 0 {
		t.Errorf("an event without a finding allocates %v times, want 0", n)
	}
}

// TestIncidentNeverBecomesTheNorm sends a hundred times as much, hour after hour:
// what was reported teaches nothing, and what passes moves the norm little.
func TestIncidentNeverBecomesTheNorm(t *testing.T) {
	e := mailing(t, 1000)
	p := &e.agents.find("a").profile.volumes
	size, hour := p.sizes[0].bytes.usual(), p.hourly[bytesOut].usual()
	found := 0
	for i := range 20 {
		ev := mail(1000 + 5*i)
		ev.Time = start + event.Timestamp(1000)*event.Timestamp(10*time.Minute) + event.Timestamp(i)*event.Timestamp(time.Hour)
		ev.Session = fmt.Sprintf("odd-%d", i)
		ev.Sensitivity = event.Restricted
		ev.Bytes, ev.Destination = event.Some(int64(5_000_000)), "drop@elsewhere.example"
		for _, f := range e.Observe(ev, int64(2000+i), event.Source{}) {
			if f.Detector == "exfiltration" {
				found++
			}
		}
	}
	if found == 0 {
		t.Error("a thousand times as much as usual is not found")
	}
	if got := p.sizes[0].bytes.usual(); got > 2*size {
		t.Errorf("the usual size is %.0f after the incident, %.0f before", got, size)
	}
	if got := p.hourly[bytesOut].usual(); got > 3*hour {
		t.Errorf("the usual hour is %.0f after the incident, %.0f before", got, hour)
	}
}

// TestLateEventsCountForNoHour sends an event of an hour that has passed.
func TestLateEventsCountForNoHour(t *testing.T) {
	e := mailing(t, 1001)
	p := &e.agents.find("a").profile.volumes
	before := *p
	late := mail(985)
	late.Time -= event.Timestamp(3 * time.Hour)
	late.ID, late.Bytes = "late", event.Some(int64(4000))
	if f := e.Observe(late, 5000, event.Source{}); len(f) > 0 {
		t.Errorf("a late event is found: %+v", f)
	}
	if p.minute != before.minute || p.sum != before.sum || p.calls != before.calls {
		t.Errorf("a late event changed what is being counted: %+v, was %+v", *p, before)
	}
}

func TestSurprisesFadeAndAreCountedOnceAnHour(t *testing.T) {
	var p Volumes
	p.minute = minuteOf(start)
	prior := Prior{A: .02, B: 100}
	rate := func() float64 { return p.test(exfiltrations, false, prior, 0).Rate }
	quiet := rate()
	p.surprise(exfiltrations, false)
	once := rate()
	p.surprise(exfiltrations, false)
	if once <= quiet || rate() != once {
		t.Errorf("rates are %g, %g after a surprise and %g after another in the hour", quiet, once, rate())
	}
	if got := p.test(amplifications, false, prior, 0).Rate; got != quiet {
		t.Errorf("a surprise to one detector makes the rate of another %g", got)
	}
	p.roll(p.minute + 131*minutesPerDay)
	if rate() != quiet {
		t.Errorf("after the memory's time the rate is %g, want %g", rate(), quiet)
	}
	p.surprise(beaconings, true)
	if got := p.odd[beaconings]; got < oneSurprise/11 || got > oneSurprise/9 {
		t.Errorf("a reported surprise counts %d of %d", got, oneSurprise)
	}
}

func TestLoops(t *testing.T) {
	// turns gives calls in turn, n times each, to a loop, and returns the runs it is told of.
	turns := func(l *loop, n, period int, session string) (told []int) {
		for i := range n * period {
			ev := &event.Event{Tool: "t", Resource: fmt.Sprint(i % period), Session: session}
			if q, run := l.turns(ev); q > 0 {
				if q != period {
					t.Errorf("%d calls in turn are taken for %d", period, q)
				}
				told = append(told, run)
			}
			l.learn(ev, true)
		}
		return told
	}
	for period := 1; period <= 4; period++ {
		var l loop
		if told := turns(&l, 200, period, "s"); len(told) != 4 || told[0] != 16 || told[3] != 128 {
			t.Errorf("%d calls in turn: told of runs of %v", period, told)
		}
	}
	var l loop
	if told := turns(&l, 200, 5, "s"); told != nil {
		t.Errorf("five calls in turn: told of runs of %v", told)
	}
	if told := turns(&l, 16, 1, "s"); told != nil {
		t.Errorf("sixteen calls are fifteen repetitions: told of runs of %v", told)
	}
	l = loop{habit: 5} // runs of 16
	if told := turns(&l, 40, 1, "s"); len(told) != 1 || told[0] != 32 {
		t.Errorf("a loop beyond the habit: told of runs of %v", told)
	}
	l = loop{}
	for range 40 {
		ev := &event.Event{Tool: "t", Session: "s"}
		if q, _ := l.turns(ev); q > 0 {
			t.Fatal("calls that cannot be told apart are taken for a loop")
		}
		l.learn(ev, true)
	}
}

func BenchmarkVolumes(b *testing.B) {
	e := mailing(b, 1000)
	events := make([]*event.Event, 500)
	for i := range events {
		events[i] = mail(1000 + i)
		events[i].ID = ""
	}
	offset := int64(2000)
	b.ReportAllocs()
	for b.Loop() {
		ev := events[offset%500]
		ev.Time = start + event.Timestamp(offset)*event.Timestamp(10*time.Minute)
		e.Observe(ev, offset, event.Source{})
		offset++
	}
}
