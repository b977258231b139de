package detect

import (
	"fmt"
	"math"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A trail is a destination that was new to the agent and to which something left
// that nobody had asked for: what is sent there in parts, none of which is much, is
// told by coming back, session after session, without having been asked for.
//
// The evidence is the logarithm of an e-detector (Shin, Ramdas & Rinaldo 2022): of the
// likelihood that what leaves for this destination is unasked in nine sessions of
// ten, against that of the agent's own share of unasked outflows p,
//
//	S = max(0, S + ln(q/p)) where it was not asked for, S + ln((1-q)/(1-p)) where it was
//
// with one step for a session. While the user's wishes have to do with this
// destination what they have with all, it passes s with a chance below exp(-s).
type trail struct {
	to       uint16
	session  uint16 // that counted last
	nats     uint16 // in 1/256
	day      uint16 // since 1970, of the last contact
	sessions uint16 // that counted
	bytes    float32
	told     bool
}

const (
	trailSlots  = 4
	trailUnit   = 256
	trailSteady = 0.9 // share of sessions in which what leaves unasked is looked for
	trailLeast  = 3   // sessions
	trailFar    = 40  // nats beyond which there is no need to know
	toldTrail   = 10  // nats from which a trail is reported
)

// trail returns what is followed of a destination, nil for nothing.
func (p *Volumes) trail(to uint64) *trail {
	for i := range p.trails {
		if t := &p.trails[i]; t.to == mark(to) {
			return t
		}
	}
	return nil
}

// next returns t after a call in a session, of an agent of whose outflows a share is unasked.
func (t trail) next(ev *event.Event, asked bool, unasked float64) trail {
	t.day = max(t.day, dayOf(ev.Time))
	t.bytes += float32(max(ev.Bytes.V, 0))
	session := mark(hash(ev.Session))
	if session == t.session {
		return t
	}
	step := math.Log(trailSteady / math.Min(unasked, trailSteady))
	if asked {
		step = math.Log((1 - trailSteady) / (1 - math.Min(unasked, trailSteady)))
	}
	t.session, t.sessions = session, min(t.sessions, math.MaxUint16-1)+1
	t.nats = uint16(math.Round(math.Max(0, math.Min(float64(t.nats)/trailUnit+step, trailFar)) * trailUnit))
	return t
}

// trailing returns the trail that a call leaves, and whether that is to be reported.
func trailing(v View) (t trail, odd bool) {
	ev, p := v.Event, &v.Profile.volumes
	asked, known := v.Session.asked(ev.Effect)
	if !known || ev.Destination == "" || !ev.Effect.Changes() || !leaves(ev) {
		return trail{}, false
	}
	was := p.trail(hash(ev.Destination))
	if was == nil || was.told {
		return trail{}, false
	}
	t = was.next(ev, asked, p.known.unasked())
	return t, !asked && t.sessions >= trailLeast && float64(t.nats)/trailUnit >= toldTrail
}

// follow learns a call to a destination. Nobody is followed whom the agent knew,
// or to whom it sends first because a user asked for it.
func (p *Volumes) follow(v View, reported bool) {
	ev := v.Event
	asked, known := v.Session.asked(ev.Effect)
	if !known || !ev.Effect.Changes() {
		return
	}
	to := hash(ev.Destination)
	if t := p.trail(to); t != nil {
		after, odd := trailing(v)
		if after == (trail{}) {
			after = t.next(ev, asked, p.known.unasked())
		}
		switch *t = after; {
		case odd && reported:
			t.told = true
		case odd:
			t.nats /= 2 // it is to be told again where it goes on
		case t.nats == 0 && !t.told:
			*t = trail{}
		}
		return
	}
	if asked || p.known.has(to) || !v.Profile.mature() {
		return
	}
	*p.coldest() = trail{to: mark(to)}.next(ev, asked, p.known.unasked())
}

// coldest returns the place of nobody, or else that of the trail with the least evidence, the oldest of these.
func (p *Volumes) coldest() *trail {
	best := &p.trails[0]
	for i := range p.trails {
		t := &p.trails[i]
		if t.to == 0 {
			return t
		}
		if t.sessions < best.sessions || t.sessions == best.sessions && t.day < best.day {
			best = t
		}
	}
	return best
}

func (t *trail) code(c *coder) {
	if !c.slot(t.to != 0) {
		return
	}
	c.u16(&t.to)
	c.u16(&t.session)
	c.u16(&t.nats)
	c.u16(&t.day)
	c.u16(&t.sessions)
	c.f32(&t.bytes)
	c.flag(&t.told)
}

func (t trail) explain(ev *event.Event, p *Volumes) Claim {
	return Claim{
		Reason:   fmt.Sprintf("%s keeps sending to %s, new to it, what nobody asked for", ev.Agent, ev.Destination),
		Observed: fmt.Sprintf("%s in %d sessions, %.1f nats of evidence that it is hardly ever asked for", bytesText(float64(t.bytes)), t.sessions, float64(t.nats)/trailUnit),
		Baseline: fmt.Sprintf("%.0f%% of what leaves was not asked for, in the last %d calls of which it is known", 100*p.known.unasked(), p.known.wishes),
		Entities: []Entity{{DestinationEntity, ev.Destination}},
	}
}
