package simulate

import "github.com/stakeout-project/stakeout/ingest/event"

// A run is the fleet in motion. Its memory is that of the agents and of the sessions
// that are going on, however long it runs.
type run struct {
	fleet *Fleet
	text  text

	groups []*group
	agents []*agent

	due  queue[duty]
	live queue[*session]
	idle []*session // to be written again

	begin, end int64 // of the history or of the live phase
	quiet      int64 // from when on no benign session begins
	pace       int64 // of time within sessions, in 1/256; 0: this is no live phase
	name       string
	attacks    []*attack
	taken      []bool // agents that somebody attacks

	late *late // nil: everything arrives at once and in order
}

// A duty is what falls due outside of a session.
type duty struct {
	kind  dutyKind
	index int // of the agent or the attack
}

type dutyKind uint8

const (
	visit       dutyKind = iota // a session begins and the next one is to be planned
	appointment                 // a session begins that was planned by itself
	beat                        // a heartbeat
	strike                      // an attack's next stage
)

func (d duty) key() uint64 { return uint64(d.kind)<<56 | uint64(d.index) }

// open returns the run of the history, nothing of it happened yet.
func (f *Fleet) open() *run {
	r := &run{fleet: f, begin: f.cfg.Start.UnixNano()}
	r.end = r.begin + int64(f.cfg.length())
	r.quiet = r.end - min(10*60*second, int64(f.cfg.length())/10)
	r.staff()
	for i, a := range r.agents {
		r.plan(duty{visit, i}, r.arrive(a, &a.chance, r.begin, a.perDay))
		r.plan(duty{beat, i}, r.begin+streamAt(a.key, r.interval()))
	}
	r.late = f.disorder()
	r.arm(f.cfg.Threats, f.cfg.Injections)
	return r
}

// streamAt returns a time from 0 to span-1 that belongs to key.
func streamAt(key uint64, span int64) int64 {
	s := streamOf(key, 16)
	return s.between(0, span-1)
}

// plan notes a duty.
func (r *run) plan(d duty, at int64) { r.due.push(at, d.key(), d) }

// drain emits everything, and reports whether the consumer wanted it all.
func (r *run) drain(yield func(*event.Event) bool) bool {
	if r.late != nil {
		return r.late.drain(r, yield)
	}
	for {
		ev, ok := r.step()
		if !ok {
			return true
		}
		if !yield(ev) {
			return false
		}
	}
}

// step returns the next event in the order in which things happen. It is valid until the next step.
func (r *run) step() (*event.Event, bool) {
	for {
		at, some := r.live.peek()
		due, planned := r.due.peek()
		if planned && (!some || due < at) {
			first, _ := r.due.pop()
			r.fulfil(first.val, first.at)
			continue
		}
		if !some {
			return nil, false
		}
		return r.advance(), true
	}
}

// advance takes the next event of the session whose turn it is.
func (r *run) advance() *event.Event {
	top := &r.live.items[0]
	s := top.val
	ev := &s.events[s.next]
	s.next++
	if s.next < len(s.events) {
		top.at = int64(s.events[s.next].Time)
		r.live.sink()
	} else {
		r.live.pop()
		r.idle = append(r.idle, s) // written again only in the next step
	}
	if s.skew != 0 && s.next > s.skewFrom {
		ev.Time += event.Timestamp(s.skew)
	}
	return ev
}

// fulfil does what is due.
func (r *run) fulfil(d duty, at int64) {
	switch d.kind {
	case visit:
		if at >= r.quiet {
			return
		}
		a := r.agents[d.index]
		r.work(a, at)
		r.plan(d, r.next(a, &a.chance, at))
	case appointment:
		r.work(r.agents[d.index], at)
	case beat:
		if at >= r.end {
			return
		}
		r.beat(r.agents[d.index], at)
		r.plan(d, at+r.interval())
	case strike:
		r.strike(d, at)
	}
}

// beat writes a heartbeat: outside of every session.
func (r *run) beat(a *agent, t int64) {
	key := mix(a.key, uint64(t))
	s := r.fresh(key)
	s.events = append(s.events, event.Event{Time: event.Timestamp(t), Name: event.Heartbeat, Agent: a.id, ID: r.text.id(key),
		Tenant: a.group.tenant, Role: a.kit.name, Version: a.group.builds[a.build]})
	r.live.push(t, key, s)
}

// fresh returns an empty session.
func (r *run) fresh(key uint64) *session {
	s := new(session)
	if n := len(r.idle); n > 0 {
		s = r.idle[n-1]
		r.idle = r.idle[:n-1]
	}
	s.reset(key)
	return s
}
