package simulate

import (
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// evasions are the threats as somebody carries them out who knows how they are
// looked for: slowly, in parts, in the shape of what is usual.
func evasions() []threat {
	return []threat{
		{name: "privilege-drift", variants: []string{"asked", "slow"}, long: true, fits: canEvadeDrift, stage: (*attack).evadeDrift},
		{name: "confused-deputy", variants: []string{"one-by-one"}, long: true, fits: canDeputise, stage: (*attack).deputiseSlowly},
		{name: "indirect-prompt-injection", variants: []string{"asked", "later-session"}, fits: canEvadeInjection, stage: (*attack).evadeInjection},
		{name: "memory-poisoning", variants: []string{"laundered"}, long: true, fits: canPoisonMemory, stage: (*attack).launder},
		{name: "tool-poisoning", variants: []string{"announced"}, fits: anyone, stage: (*attack).announce},
		{name: "exfiltration", variants: []string{"trickle"}, long: true, fits: canExfiltrate, stage: (*attack).trickle},
		{name: "loop-amplification", variants: []string{"split"}, long: true, fits: anyone, stage: (*attack).loopInParts},
		{name: "unscoped-inheritance", variants: []string{"all-but-one"}, fits: canDelegate, stage: (*attack).inheritNearly},
		{name: "credential-escalation", variants: []string{"just-expired"}, fits: canEscalate, stage: (*attack).useLate},
		{name: "supply-chain", variants: []string{"announced"}, fits: anyone, stage: (*attack).supplyAnnounced},
		{name: "telemetry-tampering", variants: []string{"sparse"}, long: true, fits: anyone, stage: (*attack).cutSparsely},
	}
}

// goOn plans the next of so many stages, some hours later; 0 after the last.
func (k *attack) goOn(t int64, stages int) int64 {
	if k.stages+1 >= stages {
		return 0
	}
	return k.later(t, 2*time.Hour, 20*time.Hour, 4, 8)
}

// begin opens a session of the attacked agent with a few usual calls, none of which does what effect says.
func (k *attack) begin(t int64, effect event.Effect) *draft {
	d := k.open(k.agent, t)
	d.start(k.agent.person(2))
	d.cover(2, func(h *held) bool { return effect != "" && h.effect == effect })
	return d
}

func (d *draft) leave() {
	d.say()
	d.end()
}

func canEvadeDrift(a *agent, variant string) bool {
	if variant == "slow" {
		return canDrift(a, "creep")
	}
	return canDrift(a, "first-use")
}

// evadeDrift has the user ask for the privilege never used, or creeps for three weeks.
func (k *attack) evadeDrift(t int64) int64 {
	if k.label.Variant == "asked" {
		d := k.open(k.agent, t)
		d.start(k.agent.person(2))
		crowns := k.agent.crowns()
		h := crowns[k.chance.below(len(crowns))]
		d.ask(d.intents([]*held{h}))
		for range 3 {
			call, _ := d.use(h)
			k.mark(d, call)
		}
		d.leave()
		return 0
	}
	const sessions = 40
	d := k.begin(t, "")
	grave := k.agent.grave()
	for range 4 {
		if h := grave[k.chance.below(len(grave))]; k.chance.percent(20 + k.stages) {
			call, _ := d.use(h)
			k.mark(d, call)
		} else {
			d.use(d.choose(nil, 1)[0])
		}
	}
	d.leave()
	return k.goOn(t, sessions)
}

// deputiseSlowly does one thing a session for a principal who may not.
func (k *attack) deputiseSlowly(t int64) int64 {
	d := k.open(k.agent, t)
	d.start(k.agent.person(0))
	grave := k.agent.grave()
	h := grave[k.chance.below(len(grave))]
	d.ask(d.intents([]*held{h}))
	call, _ := d.use(h)
	k.mark(d, call)
	d.leave()
	return k.goOn(t, 6)
}

func canEvadeInjection(a *agent, _ string) bool { return canInject(a, "") }

// evadeInjection steers what the user asked for anyway, or acts in a session in
// which nothing came from outside.
func (k *attack) evadeInjection(t int64) int64 {
	ways := k.agent.breaches("")
	way := ways[int(k.key>>8&0xffff)%len(ways)]
	asked := k.label.Variant == "asked"
	d := k.open(k.agent, t)
	d.start(k.agent.person(2))
	if asked {
		d.ask([]event.Effect{way.sink.effect})
	} else {
		d.cover(2, func(h *held) bool { return h.effect == way.sink.effect })
	}
	if asked || k.stages == 0 {
		_, result := d.use(way.source)
		d.infect(way.source, result)
		k.mark(d, result)
	}
	if asked || k.stages == 1 {
		call, _ := d.use(way.sink)
		origin, source := event.FromUntrusted, way.source.name
		if !asked {
			origin, source = event.FromModel, ""
		}
		set(call, way.sink.target, origin, source)
		k.divert(d, call, way.sink)
		k.mark(d, call)
	}
	d.leave()
	if asked {
		return 0
	}
	return k.goOn(t, 2)
}

// launder writes the poisoned record as if the user had said it.
func (k *attack) launder(t int64) int64 {
	if k.stages > 0 {
		k.reap(k.agent, t, "")
		return 0
	}
	d := k.begin(t, "")
	source := k.agent.readsForeign()
	_, result := d.use(source)
	d.infect(source, result)
	k.record = record{key: k.chance.pcg.Uint64(), origin: event.FromUser}
	k.mark(d, d.record(event.MemoryWrite, "", k.record))
	d.leave()
	return k.later(t, 6*time.Hour, 48*time.Hour, 15, 30)
}

// announce has a change of configuration come before the changed tool.
func (k *attack) announce(t int64) int64 {
	d := k.begin(t, "")
	k.mark(d, d.add(event.ConfigChange))
	h := *d.choose(nil, 1)[0]
	h.hash = k.run.text.hex(k.chance.pcg.Uint64())
	k.mark(d, d.define(&h))
	call, _ := d.use(&h)
	k.mark(d, call)
	d.leave()
	return 0
}

// trickle sends what it read in parts of usual size, a few a session.
func (k *attack) trickle(t int64) int64 {
	read, out := k.agent.egress()
	d := k.begin(t, out.effect)
	_, result := d.use(read)
	k.mark(d, result)
	for range 2 {
		call, _ := d.use(out)
		call.Bytes = event.Some(call.Bytes.V * 3 / 2)
		k.divert(d, call, out)
		k.mark(d, call)
	}
	d.leave()
	return k.goOn(t, 10)
}

// loopInParts repeats a call a few times in each of many sessions.
func (k *attack) loopInParts(t int64) int64 {
	d := k.begin(t, "")
	h := d.choose(nil, 1)[0]
	var first event.Event
	for i := range 7 {
		call, _ := d.use(h)
		if i == 0 {
			first = *call
		}
		call.Resource, call.Destination, call.ArgHashes = first.Resource, first.Destination, first.ArgHashes
		k.mark(d, call)
	}
	d.leave()
	return k.goOn(t, 20)
}

// inheritNearly delegates with everything but one scope.
func (k *attack) inheritNearly(t int64) int64 {
	d := k.begin(t, "")
	scopes := k.agent.kit.scopes
	d.delegate(k.agent.helper, scopes[:max(len(scopes)-1, 1)])
	d.leave()
	return 0
}

// useLate acts on a credential that was over a minute before.
func (k *attack) useLate(t int64) int64 {
	d := k.open(k.agent, t)
	d.cred = k.agent.daily(&k.run.text, int32(t/int64(day)))
	d.cred.expires = event.Timestamp(t - 60*second)
	d.start(k.agent.person(2))
	d.cover(2, nil)
	k.markAll(d, event.SessionStart, event.CredentialUse, event.CredentialIssue, event.ToolCall)
	d.leave()
	return 0
}

// supplyAnnounced says that another model is deployed before it runs it.
func (k *attack) supplyAnnounced(t int64) int64 {
	d := k.open(k.agent, t)
	d.model = strings.Join([]string{brains[k.chance.below(len(brains))], "r11"}, "-")
	ev := d.add(event.ConfigChange)
	ev.Model = d.model
	k.mark(d, ev)
	d.start(k.agent.person(1))
	d.cover(2, nil)
	k.markAll(d, event.ModelCall)
	d.leave()
	return 0
}

// cutSparsely takes one call and its result out of each of some sessions.
func (k *attack) cutSparsely(t int64) int64 {
	d := k.begin(t, "")
	d.cover(2, nil)
	d.say()
	d.finish()
	n := len(d.s.events)
	at := 3 + k.chance.below(n-6)
	d.s.events = slices.Delete(d.s.events, at, at+1)
	k.mark(d, &d.s.events[at])
	d.close()
	return k.goOn(t, 6)
}
