package simulate

import (
	"slices"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// use writes a call of a tool with the thought before it and the result after it.
// Both pointers are valid until the next event is added.
func (d *draft) use(h *held) (call, result *event.Event) {
	if d.attack == nil {
		d.agent.used |= 1 << h.index
	}
	d.reserve(3)
	d.think()
	d.now += d.chance.between(5*millisecond, 40*millisecond)
	call = d.call(h)
	result = d.result(h, call)
	return call, result
}

// call writes a call of a tool.
func (d *draft) call(h *held) *event.Event {
	r, shapes := d.run, d.run.fleet.shapes
	ev := d.add(event.ToolCall)
	d.acting(ev)
	serial := mix(d.s.key, uint64(len(d.s.events))|1<<33)
	ev.SpanID, ev.CallID = r.text.hex(serial), r.text.call(serial)
	ev.Tool, ev.ToolHash, ev.Server, ev.Method = h.name, h.hash, h.server, "tools/call"
	ev.Effect, ev.Privilege, ev.Sensitivity = h.effect, h.privilege, h.sensitivity
	which := (shapes.rank(&d.chance, h.resources) + int(d.agent.key>>8&0xffff)) % h.resources
	ev.Resource = r.text.numbered(h.resource, 1000+which)
	if h.place != nowhere {
		ev.Destination = r.text.place(h.place, d.destination(h))
	}
	if h.out > 0 {
		ev.Bytes = event.Some(max(shapes.around(&d.chance, h.out)*d.agent.size>>10, 1))
	}
	ev.ArgKeys = h.keys
	d.arguments(ev, h, which)
	return ev
}

// destination returns the key of where a benign call goes: mostly one of the agent's
// favourites among those of its group, now and then somewhere nobody went before.
func (d *draft) destination(h *held) uint64 {
	if d.chance.below(400) < min(h.reach, 20) {
		return d.chance.pcg.Uint64()
	}
	favourite := int(d.agent.key >> 24 & 0xffff)
	rank := d.run.fleet.shapes.rank(&d.chance, h.reach)
	return mix(mix(d.agent.group.key, nameKey(h.server)), uint64((rank+favourite)%h.reach))
}

// arguments fills in the arguments' origins, sources and hashes.
func (d *draft) arguments(ev *event.Event, h *held, which int) {
	s := d.s
	from, of, hashed := len(s.origins), len(s.sources), len(s.hashes)
	for i := range h.args {
		a := &h.args[i]
		origin, source := d.origin(a)
		s.origins = append(s.origins, event.Member[event.Origin]{Key: a.name, Value: origin})
		if source >= 0 {
			s.sources = append(s.sources, event.Member[string]{Key: a.name, Value: d.agent.kit.tools[source].name})
		}
		value := d.chance.pcg.Uint64()
		switch {
		case a.name == h.target && ev.Destination != "":
			value = mix(d.agent.group.key, nameKey(ev.Destination))
		case i == 0:
			value = mix(d.agent.group.key, uint64(which))
		}
		at := len(s.values)
		s.values = append(s.values, d.run.text.hex(value))
		s.hashes = append(s.hashes, event.Member[[]string]{Key: a.name, Value: s.values[at : at+1 : at+1]})
	}
	ev.ArgOrigins, ev.ArgHashes = s.origins[from:len(s.origins):len(s.origins)], s.hashes[hashed:len(s.hashes):len(s.hashes)]
	if len(s.sources) > of {
		ev.ArgSources = s.sources[of:len(s.sources):len(s.sources)]
	}
}

// origin draws where an argument's value comes from, out of what the session has seen.
func (d *draft) origin(a *bound) (origin event.Origin, source int) {
	total := 0
	for i := range a.flows {
		if d.possible(&a.flows[i]) {
			total += a.flows[i].weight
		}
	}
	if total == 0 {
		return event.FromUser, -1
	}
	n := d.chance.below(total)
	for i := range a.flows {
		f := &a.flows[i]
		if !d.possible(f) {
			continue
		}
		if n -= f.weight; n < 0 {
			if f.source < 0 {
				return f.origin, -1
			}
			if d.tainted>>f.source&1 == 1 {
				return event.FromUntrusted, f.source
			}
			return event.FromTool, f.source
		}
	}
	return event.FromUser, -1
}

// possible reports whether a value can come that way by now.
func (d *draft) possible(f *boundFlow) bool {
	if f.source >= 0 {
		return d.seen>>f.source&1 == 1
	}
	return f.origin != event.FromMemory || d.recalled
}

// result writes what came of a call.
func (d *draft) result(h *held, call *event.Event) *event.Event {
	took := d.run.fleet.shapes.around(&d.chance, h.latency*millisecond)
	d.now += took * d.pace >> 8
	ev := d.add(event.ToolResult)
	ev.SpanID, ev.CallID, ev.Tool, ev.Server = call.SpanID, call.CallID, call.Tool, call.Server
	ev.Duration = event.Some(float64(took/1000) / 1e6)
	ev.Trust = event.Trusted
	if d.chance.percent(2) {
		ev.ErrorType = "timeout"
		if d.chance.percent(60) {
			ev.ErrorType = "tool_error"
		}
		ev.Bytes = event.Some(d.chance.between(20, 200))
		return ev
	}
	size := d.run.fleet.shapes.around(&d.chance, max(h.in, 120)) * d.agent.size >> 10
	ev.Bytes = event.Some(size)
	d.context += min(size/4, 20000)
	d.seen |= 1 << h.index
	d.tainted &^= 1 << h.index
	if d.chance.percent(h.taint) {
		d.taint(h, ev)
	}
	return ev
}

// taint makes a result one that carries untrusted content.
func (d *draft) taint(h *held, ev *event.Event) {
	ev.Trust = event.Untrusted
	d.seen |= 1 << h.index
	d.tainted |= 1 << h.index
}

// choose appends n tools to chain, each by the agent's habits and the one before it, out of those that the principal may use.
func (d *draft) choose(chain []*held, n int) []*held {
	a, k := d.agent, d.agent.kit
	may := k.entitled[d.person.level] | k.open
	last := maxTools
	var sum [maxTools]int
	for range n {
		total := 0
		for i := range k.tools {
			w := int(a.weights[i])
			if a.adopted>>i&1 == 1 {
				w = 8
			}
			if may>>i&1 == 1 {
				total += w * int(k.boost[last][i])
			}
			sum[i] = total
		}
		if total == 0 {
			break
		}
		u := d.chance.below(total)
		for i := range k.tools {
			if sum[i] > u {
				last = i
				break
			}
		}
		chain = append(chain, &k.tools[last])
	}
	return chain
}

// intents returns the effects that a user asks for who wants the tools of a chain used; now and then
// one goes without saying, and of some messages the shipper cannot tell.
func (d *draft) intents(chain []*held) []event.Effect {
	if d.chance.percent(6) {
		return nil
	}
	asked := make([]event.Effect, 0, 4)
	for _, h := range chain {
		if h.effect.Changes() && !slices.Contains(asked, h.effect) && !d.chance.percent(6) {
			asked = append(asked, h.effect)
		}
	}
	if len(asked) == 0 {
		asked = append(asked, event.Read)
	}
	return asked
}
