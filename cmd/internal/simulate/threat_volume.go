package simulate

import (
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// egress returns an everyday tool of the agent that sends data out, and a read of the most sensitive data it works with.
func (a *agent) egress() (read, out *held) {
	for i := range a.kit.tools {
		h := &a.kit.tools[i]
		if !a.does(h) {
			continue
		}
		switch {
		case h.effect == event.Read && (h.sensitivity == event.Restricted || h.sensitivity == event.Confidential && read == nil):
			read = h
		case (h.effect == event.Send || h.effect == event.Share) && h.place == address && out == nil:
			out = h
		}
	}
	return read, out
}

func canExfiltrate(a *agent, _ string) bool {
	read, out := a.egress()
	return read != nil && out != nil
}

// exfiltrate reads what is sensitive and sends far more than usual to where nothing ever
// went: in one call, or split into many of the usual size. Or it only reports there, by the clock.
func (k *attack) exfiltrate(t int64) int64 {
	if k.label.Variant == "beacon" {
		return k.report(t)
	}
	read, out := k.agent.egress()
	d := k.open(k.agent, t)
	d.start(k.agent.person(2))
	d.cover(1, func(h *held) bool { return h.effect == out.effect })
	times := k.chance.between(50, 500)
	for range 1 + k.chance.below(3) {
		call, result := d.use(read)
		result.Bytes = event.Some(result.Bytes.V * 20)
		k.mark(d, call)
	}
	sends := 1
	if k.label.Variant == "split" {
		sends = int(min(times, 60))
	}
	for range sends {
		call, _ := d.use(out)
		if sends == 1 {
			call.Bytes = event.Some(out.out * k.agent.size >> 10 * times)
		}
		for _, name := range out.keys {
			if name == out.target {
				set(call, name, event.FromModel, "")
			} else {
				set(call, name, event.FromTool, read.name)
			}
		}
		k.divert(d, call, out)
		k.mark(d, call)
	}
	d.say()
	d.end()
	return 0
}

// report sends little, again and again at the same interval give or take a
// twentieth, to where nothing ever went, in short sessions that nobody asked for.
func (k *attack) report(t int64) int64 {
	const beats = 16
	_, out := k.agent.egress()
	d := k.open(k.agent, t)
	d.start(k.agent.person(1))
	call, _ := d.use(out)
	call.Bytes = event.Some(k.chance.between(100, 400))
	k.divert(d, call, out)
	k.mark(d, call)
	d.end()
	if k.stages+1 == beats {
		return 0
	}
	habit := streamOf(k.key, 20)
	room := max(k.run.end-int64(k.marks[0].at), second)
	interval := min(habit.between(int64(5*time.Minute), int64(40*time.Minute)), room/beats)
	return t + interval + k.chance.between(-interval/20, interval/20)
}

// loop makes the agent call the same tool with the same arguments over and over, at its owner's expense.
func (k *attack) loop(t int64) int64 {
	const plausible = 4 // repetitions that mean nothing
	times := 300
	if k.run.pace > 0 {
		times = 150
	}
	d := k.open(k.agent, t)
	d.start(k.agent.person(1))
	d.cover(1, nil)
	h := d.choose(nil, 1)[0]
	d.pace = max(d.pace/8, 4)
	d.context = max(d.context, 60_000)
	d.s.events = append(make([]event.Event, 0, len(d.s.events)+3*times+4), d.s.events...)
	var first *event.Event
	for i := range times {
		thought := len(d.s.events)
		call, _ := d.use(h)
		if first == nil {
			first = call
		}
		call.Resource, call.Destination, call.ArgHashes = first.Resource, first.Destination, first.ArgHashes
		if i > plausible {
			k.mark(d, &d.s.events[thought])
			k.mark(d, call)
		}
		d.context = min(d.context+1500, 400_000)
	}
	d.say()
	d.end()
	return 0
}
