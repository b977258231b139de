package simulate

import (
	"slices"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// tamper hides what the agent does from those who read its logs.
func (k *attack) tamper(t int64) int64 {
	d := k.open(k.agent, t)
	d.start(k.agent.person(2))
	d.cover(5, nil)
	d.use(d.choose(nil, 1)[0])
	d.say()
	d.finish()
	switch k.label.Variant {
	case "gaps":
		k.cut(d)
	case "silent-results":
		k.silence(d)
	default:
		k.skew(d)
	}
	d.close()
	return 0
}

// cut takes two stretches out of the session; the sequence numbers tell.
func (k *attack) cut(d *draft) {
	for range 2 {
		events := d.s.events
		n := 2 + k.chance.below(3)
		at := 3 + k.chance.below(len(events)-n-4)
		d.s.events = slices.Delete(events, at, at+n)
	}
	for i := 1; i < len(d.s.events); i++ {
		if ev := &d.s.events[i]; ev.Seq.V != d.s.events[i-1].Seq.V+1 {
			k.mark(d, ev)
		}
	}
}

// silence takes out the results of all calls and numbers the rest anew: one signal stops and another goes on.
func (k *attack) silence(d *draft) {
	d.s.events = slices.DeleteFunc(d.s.events, func(ev event.Event) bool { return ev.Name == event.ToolResult })
	for i := range d.s.events {
		ev := &d.s.events[i]
		ev.Seq = event.Some(int64(i))
		if ev.Name == event.ToolCall {
			k.mark(d, ev)
		}
	}
}

// skew puts the clock wrong in the middle of the session, far enough that nobody mistakes it for drift.
func (k *attack) skew(d *draft) {
	d.s.skewFrom = len(d.s.events) / 2
	d.s.skew = -k.chance.between(1200, 5400) * second
	if k.chance.percent(50) {
		d.s.skew = k.chance.between(600, 1200) * second
	}
	for i := d.s.skewFrom; i < len(d.s.events); i++ {
		k.mark(d, &d.s.events[i])
	}
}
