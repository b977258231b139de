package detect

import (
	"math"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Profile is what is normal for one agent. It is of fixed size and has no
// pointers: nothing that an agent does can make it grow.
type Profile struct {
	seen    Seen
	first   instant
	last    instant
	events  uint32  // learned
	days    float32 // since it is mature, the last few months of them
	role    Brief
	tenant  Brief
	issuer  Text // of the credential seen last
	subject Text

	vouched   bool // a person says that the baseline is good
	again     bool // it was reset
	drifted   bool // drift was reported and has not gone back
	announces bool // its builds have come with a change of configuration

	budgeted instant // until when wealth is paid in
	wealth   [maxDetectors]Wealth
	common   Wealth // what no detector could save

	doubts     [maxDetectors]doubt // of the verdicts on detectors' findings
	watching   uint16              // detectors that watch for surprises, a bit each
	losses     uint16              // sequence numbers that never came
	privileges Histogram
	anchors    Anchors
	novelties  [kinds]Novelty
	items      [allSlots]uint16 // the things of all kinds; see habit

	rhythms Rhythms

	sessions   [sessionSlots]Session
	poisons    [poisonSlots]poisonedRecord
	recalled   recalled // a poisoned record, by the last session that did
	volumes    Volumes
	deployed   uint32 // hour, since 1970, of the last change of configuration, and what it named; see deploy
	nextPoison uint8
}

const maxDetectors = 16

// The least that must be known of an agent before it is judged against itself.
const (
	matureEvents = 200
	matureAge    = 24 * time.Hour
)

// State says where the baseline stands in its life.
func (p *Profile) State() State {
	switch {
	case !p.mature() && p.again:
		return Relearning
	case !p.mature():
		return Learning
	case p.drifted || p.anchors.moved != 0:
		return Drifted
	}
	return Active
}

// mature reports whether the agent can be judged against itself.
func (p *Profile) mature() bool {
	return p.vouched || p.events >= matureEvents && p.last.Sub(p.first) >= matureAge
}

// observe takes in what holds of every event, suspect or not: who the agent is,
// how far time has come, what its sessions did.
func (p *Profile) observe(v View) {
	ev := v.Event
	now := instantOf(ev.Time)
	if p.first == 0 {
		p.first, p.last = now, now
	}
	p.first, p.last = min(p.first, now), max(p.last, now)
	if ev.Role != "" {
		p.role.set(ev.Role)
	}
	if ev.Tenant != "" {
		p.tenant.set(ev.Tenant)
	}
	if ev.CredentialIssuer != "" {
		p.issuer.set(ev.CredentialIssuer)
	}
	if ev.CredentialSubject != "" {
		p.subject.set(ev.CredentialSubject)
	}
	p.rhythms.work(ev.Time)
	p.count(ev)
	p.track(v)
}

// memory is how long surprises are remembered: after this time a third is left.
const memory = 130 * 24 * time.Hour

// age lets time pass for an agent that is mature: exposure grows, and with the
// surprises seen in it fades.
func (p *Profile) age(passed time.Duration) {
	if !p.mature() || passed == 0 {
		return
	}
	share := float32(min(passed.Seconds()/memory.Seconds(), 1))
	p.days += float32(passed.Hours()/24) - float32(p.days*share)
	for i := range p.novelties {
		p.novelties[i].fade(share)
	}
}

// learn lets the baseline take in an event that was judged, reported in its session or not. The distribution of
// privileges takes no suspect event, and none while it has drifted: an incident
// never becomes the norm by lasting.
func (p *Profile) learn(v View, suspect, reported bool) {
	ev, mature := v.Event, p.mature()
	p.report(v)
	if ev.Name == event.ConfigChange {
		p.deploy(v)
	}
	for k, o := range v.occasions {
		if !p.novelties[k].admit(o, ev.Time, mature, reported) {
			continue
		}
		switch h := p.habit(kind(k)); kind(k) {
		case delegations, signals:
			extents(h.items).raise(o.item)
			if kind(k) == signals && o.item>>8 == thinning {
				p.settle()
			}
		case credentials:
			p.admitCredential(ev, o.item)
		case rests:
			p.rhythms.done(ev, reported)
		default:
			h.remember(o.item)
		}
	}
	if ev.Privilege != "" {
		p.privileges.learn(ev.Privilege, impactful(ev), suspect || p.drifted, reported && v.occasions[privilegesUsed].odd)
		p.review()
	}
	p.anchors.learn(ev)
	p.volumes.learn(v, suspect, reported)
	if !suspect && p.events < math.MaxUint32 {
		p.events++
	}
}

// occasions returns what the event in view is to each kind of novelty.
func occasions(v View) [kinds]occasion {
	return [kinds]occasion{privilegesUsed: firstUse(v), breaches: breach(v), flows: flow(v), recalls: recall(v),
		delegations: inherit(v), credentials: escalate(v), parts: part(v), signals: impair(v), rests: rest(v)}
}

// review looks, where it is due, at whether the distribution of privileges has
// moved: it learns how much it moves of itself, and sees a drift go back.
func (p *Profile) review() {
	h := &p.privileges
	if !h.due() {
		return
	}
	if p.drifted {
		if p.drifted = h.tail() < recovered; !p.drifted {
			h.creep = 0
		}
		return
	}
	h.dispersion.learn(h.shift())
}

// recovered is the p-value from which a drift counts as gone back.
const recovered = 0.05
