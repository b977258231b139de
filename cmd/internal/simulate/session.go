package simulate

import (
	"slices"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A session is a session written down from its first event to its last, before
// the first is emitted. It owns what its events' lists point to.
type session struct {
	key    uint64
	events []event.Event
	next   int // first not emitted yet

	skewFrom int   // first event whose clock is wrong, where skew is not 0
	skew     int64 // by which it is wrong

	origins event.Object[event.Origin]
	sources event.Object[string]
	hashes  event.Object[[]string]
	values  []string
}

// reset makes s an empty session again. What an unusually long session has grown is let go.
func (s *session) reset(key uint64) {
	const long = 64
	if cap(s.events) > long {
		*s = session{}
	}
	*s = session{key: key, events: s.events[:0], origins: s.origins[:0], sources: s.sources[:0], hashes: s.hashes[:0], values: s.values[:0]}
}

// A draft is a session being written: by a benign agent at work, or by an attack on it.
type draft struct {
	run    *run
	agent  *agent
	s      *session
	chance stream

	id, trace string
	now       int64
	pace      int64 // of time, in 1/256 of the usual
	person    *principal
	chain     []string
	cred      credential

	build, model string
	seen         uint32 // tools whose result came in
	tainted      uint32 // tools whose last result carried untrusted content
	recalled     bool   // trusted memory was read
	context      int64  // tokens

	attack *attack // that writes it; nil: benign
}

// A credential is what an agent acts with.
type credential struct {
	id, subject string
	scopes      []string
	expires     event.Timestamp
}

const issuer = "https://idp.example"

// open begins to write a session of a that starts at t.
func (r *run) open(a *agent, t int64, key uint64, chance stream) *draft {
	s := r.fresh(key)
	pace := int64(256)
	if r.pace > 0 {
		pace = r.pace
	}
	return &draft{run: r, agent: a, s: s, chance: chance, id: r.text.id(mix(key, 9)), trace: r.text.trace(key), now: t, pace: pace, context: a.kit.tokens}
}

// reserve makes room for n events, so that pointers to them hold while they are added.
func (d *draft) reserve(n int) {
	if s := d.s; len(s.events)+n > cap(s.events) {
		s.events = slices.Grow(s.events, max(n, 16, len(s.events)/2))
	}
}

// add appends an event with what every event of the session has. The pointer
// holds until the next add, unless room was reserved.
func (d *draft) add(name event.Name) *event.Event {
	d.reserve(1)
	s, a := d.s, d.agent
	n := len(s.events)
	s.events = s.events[:n+1]
	ev := &s.events[n]
	*ev = event.Event{}
	ev.Time, ev.Name, ev.Agent = event.Timestamp(d.now), name, a.id
	ev.ID = d.run.text.id(mix(s.key, uint64(n)|1<<34))
	ev.Session, ev.Seq, ev.TraceID = d.id, event.Some(int64(n)), d.trace
	ev.Tenant, ev.Role = a.group.tenant, a.kit.name
	if a.parent != nil {
		ev.Parent = a.parent.id
	}
	return ev
}

// pass lets time go by, at the pace of the run.
func (d *draft) pass(median int64) {
	d.now += d.run.fleet.shapes.around(&d.chance, median) * d.pace >> 8
}

const (
	millisecond = int64(1e6)
	second      = int64(1e9)
)

// start writes what comes before the first message: the session, its credential, and now and then a look at the tools.
func (d *draft) start(p *principal) {
	a := d.agent
	d.person = p
	fresh := d.authorise()
	build := 0
	if d.now >= a.group.deployed {
		build = 1
	}
	if d.build == "" {
		d.build = a.group.builds[build]
	}
	if d.model == "" {
		d.model = a.group.models[build]
	}
	if build != a.build {
		ev := d.add(event.ConfigChange)
		ev.Version, ev.Model = a.group.builds[build], a.group.models[build]
		d.now += 5 * millisecond
	}
	d.acting(d.add(event.SessionStart))
	d.now += 2*millisecond + d.chance.between(0, 20*millisecond)
	if fresh {
		d.acting(d.add(event.CredentialIssue))
	} else {
		d.acting(d.add(event.CredentialUse))
	}
	if d.attack == nil { // an attack leaves no trace in the agent's benign life
		a.build = build
		if today := int32(d.now / int64(day)); a.kit.daily && a.issued != today {
			a.before, a.issued = a.issued, today
		}
	}
	if d.chance.percent(12) {
		d.now += d.chance.between(millisecond, 30*millisecond)
		d.define(&a.kit.tools[d.chance.below(len(a.kit.tools))])
	}
}

// acting fills in who acts, for whom, and with what.
func (d *draft) acting(ev *event.Event) {
	ev.Version, ev.Model = d.build, d.model
	ev.User, ev.PrincipalScopes = d.person.id, d.person.scopes
	ev.Chain = d.chain
	ev.CredentialID, ev.CredentialIssuer, ev.CredentialSubject = d.cred.id, issuer, d.cred.subject
	ev.CredentialScopes, ev.CredentialExpires = d.cred.scopes, d.cred.expires
}

// authorise gets the session its credential, if it has none yet, and reports whether it is a new one.
func (d *draft) authorise() bool {
	a := d.agent
	if d.cred.id != "" {
		return a.parent != nil
	}
	if !a.kit.daily {
		d.cred = credential{id: d.run.text.id(mix(d.s.key, 10)), subject: a.id, scopes: a.kit.scopes, expires: event.Timestamp(d.now + 3600*second)}
		return true
	}
	today := int32(d.now / int64(day))
	d.cred = a.daily(&d.run.text, today)
	return a.issued != today
}

// daily returns the credential that a holds on a day since the epoch. It outlives the day by six hours.
func (a *agent) daily(t *text, date int32) credential {
	return credential{id: t.id(mix(mix(a.key, 10), uint64(date))), subject: a.id, scopes: a.kit.scopes,
		expires: event.Timestamp(int64(date)*int64(day) + 30*3600*second)}
}

// define writes what a server says that a tool is.
func (d *draft) define(h *held) *event.Event {
	ev := d.add(event.ToolDefinition)
	ev.Tool, ev.ToolHash, ev.Server, ev.Method = h.name, h.hash, h.server, "tools/list"
	ev.Trust = event.Trusted
	return ev
}

// ask writes a message of the user that asks for effects; nil where the shipper cannot tell.
func (d *draft) ask(intents []event.Effect) {
	d.pass(1200 * millisecond)
	ev := d.add(event.UserMessage)
	ev.User = d.person.id
	size := d.run.fleet.shapes.around(&d.chance, 220)
	d.context += size / 4
	ev.Bytes, ev.Trust, ev.Intents = event.Some(size), event.Trusted, intents
}

// think writes a call of the model and returns it.
func (d *draft) think() *event.Event {
	d.pass(1800 * millisecond)
	ev := d.add(event.ModelCall)
	ev.SpanID = d.run.text.hex(mix(d.s.key, uint64(len(d.s.events))|1<<32))
	ev.Model = d.model
	out := d.run.fleet.shapes.around(&d.chance, 160)
	d.usage(ev, out)
	return ev
}

// usage fills in what a model's call took; so many tokens come out of it.
func (d *draft) usage(ev *event.Event, out int64) {
	ev.InputTokens, ev.OutputTokens = event.Some(d.context), event.Some(out)
	ev.Cost = event.Some(float64(3*d.context+15*out) / 1e6)
	d.context += out
}

// say writes the agent's answer.
func (d *draft) say() {
	d.think()
	d.now += d.chance.between(5*millisecond, 40*millisecond)
	ev := d.add(event.AgentMessage)
	ev.Bytes = event.Some(d.run.fleet.shapes.around(&d.chance, 700))
}

// finish writes the end.
func (d *draft) finish() {
	d.pass(400 * millisecond)
	d.add(event.SessionEnd)
}

// close hands the session over to be emitted.
func (d *draft) close() { d.run.live.push(int64(d.s.events[0].Time), d.s.key, d.s) }

// end writes the end and hands the session over.
func (d *draft) end() {
	d.finish()
	d.close()
}
