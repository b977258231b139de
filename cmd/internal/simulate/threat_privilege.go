package simulate

import (
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// grave returns the everyday tools of the agent that can do harm.
func (a *agent) grave() []*held {
	var tools []*held
	for i := range a.kit.tools {
		if h := &a.kit.tools[i]; h.high && a.does(h) {
			tools = append(tools, h)
		}
	}
	return tools
}

// crowns returns what the agent was granted, could do most harm with, and never used.
func (a *agent) crowns() []*held {
	var tools []*held
	for i := range a.kit.tools {
		if h := &a.kit.tools[i]; h.class == crown && a.used>>i&1 == 0 {
			tools = append(tools, h)
		}
	}
	return tools
}

func canDrift(a *agent, variant string) bool {
	if variant == "creep" {
		return len(a.grave()) >= 2
	}
	return a.used != 0 && len(a.crowns()) > 0
}

// drift is privilege drift: all at once, or in small steps.
func (k *attack) drift(t int64) int64 {
	if k.label.Variant == "creep" {
		return k.creep(t)
	}
	crowns := k.agent.crowns()
	d := k.open(k.agent, t)
	d.start(k.agent.person(2))
	d.cover(2, nil)
	h := crowns[k.chance.below(len(crowns))]
	for range 3 + k.chance.below(3) {
		call, _ := d.use(h)
		for _, name := range h.keys {
			set(call, name, event.FromModel, "")
		}
		k.mark(d, call)
	}
	d.say()
	d.end()
	return 0
}

// creep shifts what the agent does with its privileges, session by session, to those that
// it used seldom. Each session for itself is one that the agent might have had.
func (k *attack) creep(t int64) int64 {
	sessions, least, most := 24, 4, 6
	if k.run.pace > 0 {
		sessions, least, most = 12, 7, 9
	}
	d := k.open(k.agent, t)
	d.start(k.agent.person(2))
	grave := k.agent.grave()
	share := 35 + 55*k.stages/sessions
	var chain []*held
	for range least + k.chance.below(most-least+1) {
		if k.chance.percent(share) {
			chain = append(chain, grave[k.chance.below(len(grave))])
		} else {
			chain = d.choose(chain, 1)
		}
	}
	d.ask(d.intents(chain))
	for _, h := range chain {
		if call, _ := d.use(h); slices.Contains(grave, h) {
			k.mark(d, call)
		}
	}
	d.say()
	d.end()
	if k.stages+1 == sessions {
		return 0
	}
	return k.later(t, 30*time.Minute, 4*time.Hour, 2, 6)
}

func canDeputise(a *agent, _ string) bool { return len(a.grave()) > 0 }

// deputise makes the agent do for a principal what that principal may not: because
// he asks for it, or because another agent does in his name.
func (k *attack) deputise(t int64) int64 {
	d := k.open(k.agent, t)
	p := k.agent.person(0)
	relayed := k.label.Variant == "relayed"
	if relayed {
		d.chain = []string{p.id, k.other(func(a *agent) bool { return a.used != 0 }).id}
	}
	d.start(p)
	grave := k.agent.grave()
	var wanted []*held
	for range 2 + k.chance.below(3) {
		wanted = append(wanted, grave[k.chance.below(len(grave))])
	}
	if relayed {
		d.cover(1, func(h *held) bool { return h.effect.Changes() })
	} else {
		usual := d.choose(nil, 1)
		d.ask(d.intents(append(usual, wanted...)))
		for _, h := range usual {
			d.use(h)
		}
	}
	for _, h := range wanted {
		call, _ := d.use(h)
		k.mark(d, call)
	}
	d.say()
	d.end()
	return 0
}

// other returns another agent that fits, or the attacked one if there is none.
func (k *attack) other(fits func(a *agent) bool) *agent {
	n := len(k.run.agents)
	start := k.chance.below(n)
	for i := range n {
		if a := k.run.agents[(start+i)%n]; a != k.agent && fits(a) {
			return a
		}
	}
	return k.agent
}
