package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestHoursWeighOneOnAverage holds that an agent's hours, as often as it has them, weigh one on
// average, or a little less: who is watched by hours makes no more false findings.
func TestHoursWeighOneOnAverage(t *testing.T) {
	var h hours
	rng := rand.New(rand.NewPCG(3, 3))
	at := func() event.Timestamp { // mostly from eight to sixteen, seldom at any hour
		hour := 8 + rng.IntN(8)
		if rng.IntN(50) == 0 {
			hour = rng.IntN(24)
		}
		return event.Timestamp(time.Duration(hour) * time.Hour)
	}
	sum := 0.0
	const n = 20_000
	for range n {
		now := at()
		sum += h.weight(now)
		h.learn(now)
	}
	if mean := sum / n; mean > 1 || mean < 0.9 {
		t.Errorf("mean weight %.3f, want a little less than 1", mean)
	}
	quiet, busy := event.Timestamp(3*time.Hour), event.Timestamp(10*time.Hour)
	if q, b := h.weight(quiet), h.weight(busy); q < 3 || b > 1 {
		t.Errorf("an hour seldom seen weighs %.1f and a busy one %.2f, want more than 3 and less than 1", q, b)
	}
}

// quietHours has agents send eight times a day, in working hours, for six weeks, and then once
// more, some times what is usual, at an hour. It counts findings of exfiltration before, and agents found then.
func quietHours(agents, hour int, times float64) (wrong, found int) {
	rng := rand.New(rand.NewPCG(5, 5))
	e := New(DefaultRules())
	offset := int64(0)
	for a := range agents {
		send := func(day, hour int, bits float64) (n int) {
			at := start + event.Timestamp(time.Duration(day*24+hour-9)*time.Hour)
			for i, ev := range []*event.Event{
				{Name: event.ToolCall, Tool: "crm_lookup", Effect: event.Read, Sensitivity: event.Confidential},
				{Name: event.ToolCall, Tool: "send_mail", Effect: event.Send, Destination: "ann@partner.example", Bytes: event.Some(int64(math.Exp2(bits)))},
			} {
				ev.Time, ev.Agent = at+event.Timestamp(i)*event.Timestamp(time.Minute), fmt.Sprint("agent-", a)
				ev.ID, ev.Session = fmt.Sprint(offset), fmt.Sprint(a, "/", day, "/", hour)
				for _, f := range e.Observe(ev, offset, event.Source{}) {
					if f.Detector == (Exfiltration{}).About().Name {
						n++
					}
				}
				offset++
			}
			return n
		}
		const days = 42
		for day := range days {
			for h := range 8 {
				wrong += send(day, 9+h, 12+0.7*rng.NormFloat64())
			}
		}
		found += min(send(days, hour, 12+math.Log2(times)), 1)
	}
	return wrong, found
}

// TestQuietHours sends what is somewhat too much at noon and at three in the night.
func TestQuietHours(t *testing.T) {
	for _, times := range []float64{12, 16, 24} {
		wrong, noon := quietHours(40, 12, times)
		_, night := quietHours(40, 27, times)
		t.Logf("%g times the usual: of 40 agents %d found at noon, %d at three in the night; %d findings before", times, noon, night, wrong)
		if wrong > 1 {
			t.Errorf("%d findings before, in 1,680 agent-days, want at most 1", wrong)
		}
		if night < noon {
			t.Errorf("at %g times the usual %d found at night, %d at noon", times, night, noon)
		}
	}
}

// TestHoursCountDays has much leave in one hour of a day by calls that do not say how much: that
// makes no other hour look as if hardly anything left in it.
func TestHoursCountDays(t *testing.T) {
	e := New(DefaultRules())
	offset := int64(0)
	send := func(day, hour, minute int, bytes event.Opt[int64]) {
		offset++
		e.Observe(&event.Event{Time: start + event.Timestamp(day*24+hour)*event.Timestamp(time.Hour) + event.Timestamp(minute)*event.Timestamp(time.Minute), Name: event.ToolCall,
			Agent: "a", ID: fmt.Sprint(offset), Tool: "mail", Effect: event.Send, Destination: "office.example", Bytes: bytes}, offset, event.Source{})
	}
	for day := range 20 {
		for minute := range 50 {
			send(day, 1, minute, event.Opt[int64]{})
		}
		send(day, 2, 0, event.Some[int64](0))
		for minute := range 10 {
			send(day, 6, minute, event.Some[int64](5000))
			send(day, 5, minute, event.Some[int64](5000)) // too late to count
		}
	}
	var want hours
	want[hourOf(start+6*event.Timestamp(time.Hour))%24] = 20
	if got := e.agents.find("a").profile.volumes.hours; got != want {
		t.Errorf("days by hours are %v, want %v", got, want)
	}
}
