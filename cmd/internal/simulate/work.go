package simulate

import "github.com/stakeout-project/stakeout/ingest/event"

// crowning is how many first uses out of a hundred are of a crown, where the principal may.
const crowning = 8

// work writes one benign session of a that starts at t.
func (r *run) work(a *agent, t int64) {
	key := mix(a.key, 1<<40|a.sessions)
	a.sessions++
	d := r.open(a, t, key, streamOf(key, 11))
	d.start(d.client())
	n := d.length()
	var room [16]*held
	chain := d.choose(room[:0], n)
	chain = d.pioneer(chain)
	d.ask(d.intents(chain))
	if d.chance.percent(a.kit.remember) {
		d.recall()
	}
	if a.helper != nil && d.chance.percent(20) {
		d.delegate(a.helper, a.helper.kit.narrow) // no more than the work takes
	}
	again := -1
	if len(chain) > 2 && d.chance.percent(20) {
		again = len(chain) / 2
	}
	for i, h := range chain {
		if i == again {
			d.say()
			d.pass(15 * second)
			d.ask(d.intents(chain[i:]))
		}
		d.use(h)
	}
	if d.chance.percent(a.kit.store) {
		d.remember()
	}
	d.say()
	d.end()
}

// client draws the principal that the session is for, by the agent's habits.
func (d *draft) client() *principal {
	people := d.agent.group.people
	rank := d.run.fleet.shapes.rank(&d.chance, len(people))
	return &people[(rank+int(d.agent.key>>40&0xff))%len(people)]
}

// length draws how many tools a session calls.
func (d *draft) length() int {
	n := d.agent.kit.calls
	return 2 + d.chance.below(n-1) + d.chance.below(n-1)*d.chance.below(2)
}

// pioneer now and then puts a tool into the chain that the agent was granted and never used, and remembers it.
func (d *draft) pioneer(chain []*held) []*held {
	a, k := d.agent, d.agent.kit
	fresh, grave := d.chance.pcg.Uint64()>>32 < a.pioneer, d.chance.percent(crowning)
	at := d.chance.below(len(k.tools))
	if !fresh {
		return chain
	}
	want := spare
	if grave && d.person.level == 2 {
		want = crown
	}
	for range k.tools {
		h := &k.tools[at]
		if h.class == want && a.adopted>>at&1 == 0 {
			a.adopted |= 1 << at
			return append(chain, h)
		}
		at = (at + 1) % len(k.tools)
	}
	return chain
}

// recall writes a reading of memory: of the role's library, or of what the agent wrote itself.
func (d *draft) recall() {
	a := d.agent
	d.now += d.chance.between(20*millisecond, 200*millisecond)
	known := min(a.remembers, len(a.records))
	if known == 0 || d.chance.percent(50) {
		key := mix(a.group.key, uint64(d.run.fleet.shapes.rank(&d.chance, 40))|1<<48)
		d.record(event.MemoryRead, "library-"+a.kit.short, record{key: key, origin: event.FromSystem})
		d.recalled = true
		return
	}
	rec := a.records[d.chance.below(known)]
	d.record(event.MemoryRead, "", rec)
	if rec.origin != event.FromUntrusted || d.chance.percent(4) {
		d.recalled = true // what came from outside is read, and hardly ever acted on
	}
}

// remember writes down something in the agent's own memory.
func (d *draft) remember() {
	a := d.agent
	rec := record{key: d.chance.pcg.Uint64(), origin: event.FromTool}
	switch n := d.chance.below(100); {
	case n < 45:
		rec.origin = event.FromUser
	case n < 62:
		rec.origin = event.FromSystem
	case n < 64 || d.tainted != 0 && n < 66:
		rec.origin = event.FromUntrusted
	}
	d.now += d.chance.between(20*millisecond, 200*millisecond)
	d.record(event.MemoryWrite, "", rec)
	a.records[a.remembers%len(a.records)] = rec
	a.remembers++
}

// record writes an access to a record; the store is the agent's own unless it is named.
func (d *draft) record(name event.Name, store string, rec record) *event.Event {
	if store == "" {
		store = d.agent.store()
	}
	t := &d.run.text
	ev := d.add(name)
	ev.User = d.person.id
	ev.Store, ev.Record = store, t.hex(mix(rec.key, 12))
	ev.Origin, ev.Hash, ev.Simhash = rec.origin, t.hex(mix(rec.key, 13)), t.hex(mix(rec.key, 14))
	ev.Bytes = event.Some(int64(200 + rec.key&0x7ff))
	return ev
}

// store names the agent's own memory.
func (a *agent) store() string { return "memory-" + a.id }

// delegate hands a part of the work to the helper, with those scopes, and waits for it.
func (d *draft) delegate(helper *agent, scopes []string) {
	d.think()
	d.now += 20 * millisecond
	ev := d.add(event.Delegation)
	d.acting(ev)
	ev.Delegate, ev.DelegateScopes = helper.id, scopes
	if d.attack != nil {
		d.attack.mark(d, ev)
	}
	d.now = d.assist(helper, scopes, d.now+100*millisecond) + 50*millisecond
}

// assist writes the helper's session, on behalf of the same person, and returns when it ends.
func (d *draft) assist(helper *agent, scopes []string, t int64) int64 {
	key := mix(d.s.key, 15)
	h := d.run.open(helper, t, key, streamOf(key, 11))
	h.trace, h.attack = d.trace, d.attack
	h.chain = []string{d.person.id, d.agent.id}
	h.cred = credential{id: d.run.text.id(mix(key, 10)), subject: helper.id, scopes: scopes, expires: event.Timestamp(t + 900*second)}
	h.start(d.person)
	if d.attack != nil {
		d.attack.enter(h)
		d.attack.markAll(h, event.CredentialIssue)
	}
	var room [16]*held
	chain := h.choose(room[:0], h.length())
	h.ask(h.intents(chain))
	for _, tool := range chain {
		h.use(tool)
	}
	h.say()
	h.end()
	return h.now
}
