package detect

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// sessions writes what an agent does in so many sessions, two a day.
func sessions(agent string, from, n int) (log []*event.Event) {
	for i := from; i < from+n; i++ {
		at := event.Timestamp(time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC).Add(time.Duration(i) * 12 * time.Hour).UnixNano())
		names := []event.Name{event.SessionStart, event.UserMessage}
		for range 8 {
			names = append(names, event.ModelCall, event.ToolCall, event.ToolResult)
		}
		for seq, name := range append(names, event.AgentMessage, event.SessionEnd) {
			log = append(log, &event.Event{Time: at, Name: name, Agent: agent, ID: fmt.Sprintf("%d-%d", i, seq),
				Session: fmt.Sprintf("s%d", i), Seq: event.Some(int64(seq))})
			at += event.Timestamp(5 * time.Second)
		}
	}
	return log
}

// observeAll returns what is found in a log, in the order in which it arrives.
func observeAll(log []*event.Event) (found []Finding) {
	e := New(DefaultRules())
	for i, ev := range log {
		found = append(found, e.Observe(ev, int64(i), event.Source{})...)
	}
	return found
}

func TestTelemetryFindsAClockThatGoesBack(t *testing.T) {
	log := sessions("clerk", 0, 40)
	end := len(log)
	log = append(log, sessions("clerk", 40, 1)...)
	for _, ev := range log[end+12:] {
		ev.Time -= event.Timestamp(40 * time.Minute)
	}
	found := observeAll(log)
	if len(found) != 1 || found[0].Detector != "telemetry" || found[0].Event != "40-12" {
		t.Errorf("found %+v, want the clock that goes back in event 40-12", found)
	}
}

func TestTelemetryKnowsAClockThatOftenGoesBack(t *testing.T) {
	log := sessions("clerk", 0, 41)
	for _, ev := range log {
		if ev.Seq.V >= 12 {
			ev.Time -= event.Timestamp(40 * time.Minute)
		}
	}
	if found := observeAll(log); len(found) > 0 {
		t.Errorf("found %+v, want nothing in what was always so", found)
	}
}

// TestTelemetryBearsABadRoad has one event in fifty come up to two minutes late, after
// the end of its session too, and now and then a batch, and some events twice.
func TestTelemetryBearsABadRoad(t *testing.T) {
	found, agents := 0, 100
	for a := range agents {
		rng := rand.New(rand.NewPCG(1, uint64(a)))
		log := sessions(fmt.Sprintf("clerk-%d", a), 0, 60)
		arrival := map[*event.Event]event.Timestamp{}
		for i := 0; i < len(log); i++ {
			ev := log[i]
			arrival[ev] = max(arrival[ev], ev.Time)
			switch rng.IntN(100) {
			case 0, 1:
				arrival[ev] += event.Timestamp(rng.Int64N(int64(2 * time.Minute)))
			case 2:
				again := *ev
				log = append(log, &again)
				arrival[&again] = ev.Time + event.Timestamp(rng.Int64N(int64(2*time.Minute)))
			}
		}
		for i := 0; i < len(log); i += 500 { // a batch
			for _, ev := range log[i:min(i+6, len(log))] {
				arrival[ev] = max(arrival[ev], log[i].Time+event.Timestamp(90*time.Second))
			}
		}
		slices.SortStableFunc(log, func(a, b *event.Event) int { return cmp.Compare(arrival[a], arrival[b]) })
		for _, f := range observeAll(log) {
			t.Logf("%s: %s; %s; %s", f.Agent, f.Reason, f.Observed, f.Baseline)
			found++
		}
	}
	if found > 1 { // in 3,000 agent-days; the share is 0.9
		t.Errorf("found %d faults where there is only a bad road", found)
	}
}

// TestTelemetryBearsLoss has every event lost with the same small chance from the
// first day on.
func TestTelemetryBearsLoss(t *testing.T) {
	for _, loss := range []float64{0.0005, 0.005, 0.05} {
		found, agents := 0, 100
		for a := range agents {
			rng := rand.New(rand.NewPCG(2, uint64(a)))
			log := slices.DeleteFunc(sessions(fmt.Sprintf("clerk-%d", a), 0, 60), func(*event.Event) bool { return rng.Float64() < loss })
			found += len(observeAll(log))
		}
		t.Logf("%g lost: %d findings in %d agent-days", loss, found, 30*agents)
		if found > 1 { // the share is 0.9
			t.Errorf("%g lost: %d findings of %d agents", loss, found, agents)
		}
	}
}

// TestTelemetryFindsAClockThatIsAhead lets the events of a session come from a clock
// that is ahead of the broker's, of an agent whose clock was right and of one whose
// never was.
func TestTelemetryFindsAClockThatIsAhead(t *testing.T) {
	f := func(name string, usual, now time.Duration, want int) {
		t.Helper()
		e := New(DefaultRules())
		log := sessions("a", 0, 31)
		var found []Finding
		for i, ev := range log {
			src := event.Source{Topic: "raw", Offset: int64(i), Ahead: usual}
			if ev.Session == "s30" {
				src.Ahead = now
			}
			found = append(found, e.Observe(ev, int64(i), src)...)
		}
		if len(found) != want || want > 0 && found[0].Detector != "telemetry" {
			t.Errorf("%s: %d findings, want %d: %+v", name, len(found), want, found)
		}
	}
	f("a clock that was right", 0, 900*time.Second, 1)
	f("nobody is ahead", 0, 0, 0)
	f("a clock that was always wrong", 1000*time.Second, 900*time.Second, 0)
	f("a clock that was always wrong and is more so", 400*time.Second, 7200*time.Second, 1)
}
