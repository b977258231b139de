package simulate

import (
	"fmt"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// poisonTool changes what a known tool says it is, or puts another server's tool in its place.
func (k *attack) poisonTool(t int64) int64 {
	d := k.open(k.agent, t)
	d.start(k.agent.person(2))
	h := *d.choose(nil, 1)[0]
	h.hash = k.run.text.hex(k.chance.pcg.Uint64())
	if k.label.Variant == "shadowing" {
		h.server = k.run.text.place(host, k.chance.pcg.Uint64())
	}
	k.mark(d, d.define(&h))
	d.cover(1, func(other *held) bool { return other.index == h.index })
	for range 2 + k.chance.below(2) {
		call, _ := d.use(&h)
		k.mark(d, call)
	}
	d.say()
	d.end()
	return 0
}

// supply brings in a part that nobody deployed: a model, a build of the agent, or a server with a tool.
func (k *attack) supply(t int64) int64 {
	d := k.open(k.agent, t)
	switch k.label.Variant {
	case "model":
		d.model = fmt.Sprintf("%s-r%d", brains[k.chance.below(len(brains))], 2+k.chance.below(8))
	case "build":
		d.build = fmt.Sprintf("%d.%d.%d", 1+k.chance.below(5), k.chance.below(9), 1+k.chance.below(9))
	}
	d.start(k.agent.person(1))
	d.cover(2, nil)
	if k.label.Variant == "server" {
		k.plug(d)
	} else {
		k.markAll(d, event.SessionStart, event.ModelCall, event.ToolCall)
	}
	d.say()
	d.end()
	return 0
}

// plug adds a tool from a server never seen, and uses it.
func (k *attack) plug(d *draft) {
	verb := [...]string{"convert", "summarise", "enrich", "lint", "preview"}[k.chance.below(5)]
	thing := seconds[k.chance.below(len(seconds))]
	for i := range d.agent.kit.tools {
		if h := d.agent.kit.tools[i]; h.class == spare {
			foreign := *h.tool
			foreign.name, foreign.privilege, foreign.resource = thing+"."+verb, thing+":"+verb, thing
			h.tool, h.server, h.hash = &foreign, k.run.text.place(host, k.chance.pcg.Uint64()), k.run.text.hex(k.chance.pcg.Uint64())
			k.mark(d, d.define(&h))
			for range 2 + k.chance.below(2) {
				call, _ := d.use(&h)
				k.mark(d, call)
			}
			return
		}
	}
}
