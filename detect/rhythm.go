package detect

import (
	"math"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Rhythms are how often an agent does a thing that has effect: exercises a privilege,
// or calls a tool where none is told, uses a credential, hands work to a delegate, and
// acts at all. They are counted by days, because uses come in runs: a day with any is
// one.
//
// The days of a thing are those on which the agent was at work, so that a holiday of
// the agent is none of the thing. Only that the agent acts at all is counted by the
// calendar.
type Rhythms struct {
	day    uint16 // since 1970, that was at work last
	worked uint16 // days at work
	seen   uint16 // rests
	heavy  heaviness
	of     [rhythmSlots]rhythm
}

// A rhythm is on which days a thing was done: so many, over so many days. Both are
// halved when one is full, so that what was long ago counts less.
type rhythm struct {
	what  uint16 // mark of the thing; 0 for an empty slot
	last  uint16 // day on which it was done
	times uint8
	over  uint8
}

const (
	rhythmSlots = 12
	timesMost   = 32
	overMost    = 224

	// A rest is odd where its chance is less than this, and it is as long.
	oddRest   = 1e-5
	leastRest = 14 // days at work
	leastAway = 30 // days of the calendar, as for an agent that is stale

	// Until a thing has shown its rhythm it is taken for one that is done four times
	// a day, as if seen twice: uses come in runs.
	priorTimes = 2
	priorOver  = 0.5
)

// tail is the chance of a rest as long or longer. Uses are taken for Poisson at a rate
// with a Gamma(a, b) distribution, a as many times as b days have shown, so that the
// next rest has the Lomax distribution
//
//	P(rest > g) = (b / (b + g))^a
func (r *rhythm) tail(rest int) float64 {
	a, b := float64(r.times)+priorTimes-1, float64(r.over)+priorOver
	return math.Pow(b/(b+float64(rest)), a)
}

// chance is the chance of a rest as long as this agent has them: who does things in
// spells is known for it.
func (p *Rhythms) chance(r *rhythm, rest int) float64 {
	return p.heavy.chance(r.tail(rest), p.seen)
}

// learn takes in that the thing was done on a day.
func (r *rhythm) learn(day uint16) {
	gap := int(day) - int(r.last)
	if gap <= 0 {
		return
	}
	r.last = day
	over, times := int(r.over)+gap, int(r.times)+1
	for times > timesMost || over > overMost && times > 1 {
		over, times = (over+1)/2, times/2
	}
	r.over, r.times = uint8(min(over, overMost)), uint8(times)
}

// today is the day at work that an event at a time is part of.
func (p *Rhythms) today(at event.Timestamp) uint16 {
	if dayOf(at) > p.day && p.worked < math.MaxUint16 {
		return p.worked + 1
	}
	return p.worked
}

// work counts a day at work.
func (p *Rhythms) work(at event.Timestamp) {
	p.worked = p.today(at)
	p.day = max(p.day, dayOf(at))
}

// find returns the rhythm of a thing, nil if it is not known.
func (p *Rhythms) find(what uint16) *rhythm {
	for i := range p.of {
		if p.of[i].what == what {
			return &p.of[i]
		}
	}
	return nil
}

// learn takes in that a thing was done on a day. Where all slots are taken, a new thing
// takes a day off the one done least, and its slot when none is left: what is
// done once does not push out what is done by habit.
func (p *Rhythms) learn(what, day uint16, reported bool) {
	if r := p.find(what); r != nil {
		if rest := int(day) - int(r.last); rest > 0 {
			p.seen = min(p.seen, math.MaxUint16-1) + 1
			p.heavy.learn(r.tail(rest), p.seen, odds(reported))
		}
		r.learn(day)
		return
	}
	least := &p.of[0]
	for i := range p.of {
		r := &p.of[i]
		if r.what == 0 {
			least = r
			break
		}
		if r.times < least.times || r.times == least.times && r.last < least.last {
			least = r
		}
	}
	if least.what != 0 && least.times > 1 {
		least.times--
		return
	}
	*least = rhythm{what: what, last: day, times: 1}
}

// A thingKind is what a rhythm is of.
type thingKind uint8

const (
	acting thingKind = iota // with effect, at all
	exercising
	calling // where no privilege is told
	holding // a credential
	handing // work to a delegate
	thingKinds
)

// A thing is something that an event does with effect.
type thing struct {
	kind thingKind
	name string
}

// mark is the thing as a rhythm has it.
func (t thing) mark() uint16 {
	if t.kind == acting {
		return 1
	}
	return max(mark(hash(t.name)+uint64(t.kind)), 2)
}

// things lists what an event does with effect, as far as it says; nothing where it does none.
func things(ev *event.Event) (all [thingKinds]thing, n int) {
	add := func(k thingKind, name string) {
		all[n] = thing{k, name}
		n++
	}
	switch {
	case ev.Name == event.Delegation && ev.Delegate != "":
		add(handing, ev.Delegate)
	case ev.Privilege != "" && impactful(ev):
		add(exercising, ev.Privilege)
	case effectful(ev) && ev.Privilege == "" && ev.Tool != "":
		add(calling, ev.Tool)
	default:
		return all, 0
	}
	if ev.CredentialID != "" {
		add(holding, ev.CredentialID)
	}
	add(acting, "")
	return all, n
}

// rested returns how long a thing was not done when an event does it, and whether that
// is odd.
func (p *Rhythms) rested(t thing, at event.Timestamp) (r *rhythm, rest int, odd bool) {
	day, least := p.today(at), leastRest
	if t.kind == acting {
		day, least = dayOf(at), leastAway
	}
	if r = p.find(t.mark()); r == nil {
		return nil, 0, false
	}
	rest = int(day) - int(r.last)
	return r, rest, rest >= least && p.chance(r, rest) < oddRest
}

// done takes in what an event does.
func (p *Rhythms) done(ev *event.Event, reported bool) {
	all, n := things(ev)
	for _, t := range all[:n] {
		day := p.today(ev.Time)
		if t.kind == acting {
			day = dayOf(ev.Time)
		}
		p.learn(t.mark(), day, reported)
	}
}

func (p *Rhythms) code(c *coder) {
	c.u16(&p.day)
	c.u16(&p.worked)
	c.u16(&p.seen)
	c.u16((*uint16)(&p.heavy))
	for i := range p.of {
		r := &p.of[i]
		if c.slot(r.what != 0) {
			c.u16(&r.what)
			c.u16(&r.last)
			c.u8(&r.times, timesMost+1)
			c.u8(&r.over, overMost+1)
		}
	}
}
