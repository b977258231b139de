package detect

import (
	"fmt"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Memory finds an effectful call in a session that has read a memory record
// with content of untrusted origin, which another session wrote: memory poisoning.
type Memory struct{ Prior Prior }

// About implements [Detector].
func (d Memory) About() About {
	return About{Slot: 4, Name: "memory", Threat: MemoryPoisoning, Severity: High,
		Normal: "a memory record whose origin is not untrusted content, or an action on the word of the user",
		ASI:    []string{"ASI06"}, ATLAS: []string{"AML.T0080.000"}}
}

func (d Memory) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every effectful call. Where argument
// origins are known, one of them must be memory.
func (d Memory) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.ask(recalls, d.Prior)
}

func recall(v View) occasion {
	ev := v.Event
	if !effectful(ev) {
		return occasion{}
	}
	o := occasion{trial: true}
	if v.Session.poison != 0 && fromMemory(ev) {
		o.item = hash(ev.Tool)
		o.odd = !v.Profile.habit(recalls).knows(o.item)
	}
	return o
}

// fromMemory reports whether an argument came from memory, as far as is known.
func fromMemory(ev *event.Event) bool {
	for _, m := range ev.ArgOrigins {
		if m.Value == event.FromMemory {
			return true
		}
	}
	return len(ev.ArgOrigins) == 0
}

// Explain implements [Detector].
func (d Memory) Explain(v View) Claim {
	ev, p, s := v.Event, v.Profile, v.Session
	n := p.habit(recalls)
	c := Claim{
		Reason:   fmt.Sprintf("%s called %s on the word of a memory record that was written from untrusted content", ev.Agent, ev.Tool),
		Observed: fmt.Sprintf("a record with content of untrusted origin was read in this session, then %s with effect %s", ev.Tool, ev.Effect),
		Baseline: fmt.Sprintf("in %d effectful calls, %.1f on such a record by a tool new to it", n.trials, n.surprises),
	}
	if m := p.poison(s.poison); m != nil {
		c.Observed = "an earlier session wrote the record; " + c.Observed
		c.Evidence = append(c.Evidence, m.written.String())
	}
	if p.recalled.session == s.id {
		c.Evidence = append(c.Evidence, p.recalled.read.String())
	}
	return c
}
