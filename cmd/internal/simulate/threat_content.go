package simulate

import (
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A breach is a way for foreign content to do harm: from the result of a tool into
// the argument of another that it never feeds.
type breach struct{ source, sink *held }

// breaches returns the breaches of an agent that end in an effect; an empty effect stands for any.
func (a *agent) breaches(effect event.Effect) []breach {
	var found []breach
	for i := range a.kit.tools {
		sink := &a.kit.tools[i]
		if !a.harmful(sink) || effect != "" && sink.effect != effect {
			continue
		}
		for j := range a.kit.tools {
			source := &a.kit.tools[j]
			if source.taint > 0 && a.does(source) && !sink.feeds(j, sink.target) {
				found = append(found, breach{source, sink})
			}
		}
	}
	return found
}

// harmful reports whether h is an everyday tool of the agent that sends, shares, pays or deletes something that an argument names.
func (a *agent) harmful(h *held) bool {
	switch h.effect {
	case event.Send, event.Share, event.Money, event.Delete:
		return h.target != "" && a.does(h)
	}
	return false
}

func canInject(a *agent, variant string) bool { return len(a.breaches(event.Effect(variant))) > 0 }

// inject lets content from outside take the agent over.
func (k *attack) inject(t int64) int64 {
	ways := k.agent.breaches(event.Effect(k.label.Variant))
	way := ways[k.chance.below(len(ways))]
	d := k.open(k.agent, t)
	d.start(k.agent.person(2))
	d.cover(3, func(h *held) bool { return h.effect == way.sink.effect })
	_, result := d.use(way.source)
	d.infect(way.source, result)
	k.mark(d, result)
	for range 1 + k.chance.below(2) {
		call, _ := d.use(way.sink)
		set(call, way.sink.target, event.FromUntrusted, way.source.name)
		k.divert(d, call, way.sink)
		k.mark(d, call)
	}
	d.say()
	d.end()
	return 0
}

// infect makes sure that a result carries untrusted content.
func (d *draft) infect(h *held, result *event.Event) {
	if result.ErrorType != "" {
		result.ErrorType = ""
		result.Bytes = event.Some(d.run.fleet.shapes.around(&d.chance, max(h.in, 120)))
	}
	d.taint(h, result)
}

// readsForeign returns an everyday tool of the agent whose results may carry untrusted content, if there is one.
func (a *agent) readsForeign() *held {
	for i := range a.kit.tools {
		if h := &a.kit.tools[i]; h.taint > 0 && a.does(h) {
			return h
		}
	}
	return nil
}

// sinks returns the tools with which the agent could do harm.
func (a *agent) sinks() []*held {
	var tools []*held
	for i := range a.kit.tools {
		if h := &a.kit.tools[i]; a.harmful(h) {
			tools = append(tools, h)
		}
	}
	return tools
}

func canPoisonMemory(a *agent, _ string) bool { return a.readsForeign() != nil && len(a.sinks()) > 0 }

// poisonMemory plants a record in one session that does its harm in a later one, to somebody
// else; a record in what the role shares does so to several agents.
func (k *attack) poisonMemory(t int64) int64 {
	shared := k.label.Variant == "shared"
	store, readers := "", 1
	if shared {
		store, readers = "library-"+k.agent.kit.short, 3
	}
	if k.stages == 0 {
		return k.later(k.plant(t, store), 6*time.Hour, 48*time.Hour, 15, 30)
	}
	victim := k.agent
	if shared {
		victim = k.other(func(a *agent) bool {
			return a.group == k.agent.group && !k.had(a) && canPoisonMemory(a, k.label.Variant)
		})
		k.victims = append(k.victims, victim)
	}
	t = k.reap(victim, t, store)
	if k.stages == readers {
		return 0
	}
	return k.later(t, 20*time.Minute, 8*time.Hour, 4, 12)
}

func (k *attack) had(a *agent) bool {
	for _, v := range k.victims {
		if v == a {
			return true
		}
	}
	return false
}

// plant writes the record, after content from outside was read, and returns when that is done.
func (k *attack) plant(t int64, store string) int64 {
	d := k.open(k.agent, t)
	d.start(k.agent.person(1))
	d.cover(2, nil)
	source := k.agent.readsForeign()
	_, result := d.use(source)
	d.infect(source, result)
	d.now += d.chance.between(20*millisecond, 200*millisecond)
	k.record = record{key: k.chance.pcg.Uint64(), origin: event.FromUntrusted}
	k.mark(d, d.record(event.MemoryWrite, store, k.record))
	d.say()
	d.end()
	return d.now
}

// reap reads the record for another person, with nothing from outside in the session, acts on it, and
// returns when that is done.
func (k *attack) reap(victim *agent, t int64, store string) int64 {
	d := k.open(victim, t)
	d.start(victim.person(2))
	sinks := victim.sinks()
	sink := sinks[k.chance.below(len(sinks))]
	d.cover(2, func(h *held) bool { return h.effect == sink.effect || h.taint > 0 })
	d.now += d.chance.between(20*millisecond, 200*millisecond)
	k.mark(d, d.record(event.MemoryRead, store, k.record))
	for range 1 + k.chance.below(3) {
		call, _ := d.use(sink)
		set(call, sink.target, event.FromMemory, "")
		k.divert(d, call, sink)
		k.mark(d, call)
	}
	d.say()
	d.end()
	return d.now
}
