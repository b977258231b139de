// Package detect decides whether an agent is behaving unlike itself.
//
// The engine keeps one [Profile] per agent. It asks every [Detector] about an
// event, and only then lets the profile learn: an event never helps to excuse
// itself. The package does no I/O, starts no goroutine, reads no clock and logs
// nothing; time is event time. The same profile and the same events in the same
// order give the same findings, byte for byte.
package detect

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// An Engine judges the events of one partition's agents. It is not for
// concurrent use.
type Engine struct {
	rules     Rules
	bill      *bill // of materials; nil: the rules have none
	detectors []watching
	agents    slabs
	changed   []*agent // not yet yielded as they are, in order of their first change; nil: forgotten
	yielded   int      // how many stood before them, ever
	stats     Stats
	peers     *Peers                          // nil: every agent is held against its own past alone
	priors    map[*Group]*[maxDetectors]Prior // of the peers, by slot
	none      Session                         // of an event without one
	sight     sight                           // of the event in view
	facts     []Fact                          // of the event observed last
	census    *Census                         // nil: none is taken
	trust     Trust                           // nil: anybody's word is taken

	limit int      // of agents
	order []aged   // what is left of the agents as they were last put in order
	read  byte     // see Prefetch
	gone  []string // forgotten since Changed last ran to its end, if they are in a changelog
}

// watching is a detector in force.
type watching struct {
	Detector
	about About
	share float64 // false findings per agent-day
	full  Wealth  // nothing is left for others up to here
}

// An agent has no pointers, so that the garbage collector need not look at a
// million of them: see [slabs].
type agent struct {
	name    named
	changed bool
	stored  bool // Changed has yielded it, or Restore made it
	known   bool // its place is not one of who was forgotten
	copied  bool // a profile apart began as a copy of this one, and Changed has not yielded this one since
	slot    uint32
	since   int64 // where it is changed, the offset of the first event that no yielded encoding holds
	place   int   // and where it stands among the changed, from the first there ever was
	profile Profile
	telling telling
}

// Stats count what an engine did since it was made.
type Stats struct {
	Judged    uint64
	Unknown   uint64 // of them, events of agents that were not known yet
	Repeated  uint64 // events left out because they had been judged before
	Findings  uint64
	Forgotten uint64 // agents, to make room for others
	Told      uint64 // facts
	Held      uint64 // facts held back, because the agent told too many in an hour

	// Risked is how many false findings the detectors expected to make, by their
	// slots: what their tests risked, over all agents. Where a detector's rates and
	// p-values are right, its false findings come to as many.
	Risked [maxDetectors]float64
}

// New returns an engine without profiles.
func New(r Rules) *Engine {
	e := &Engine{rules: r, bill: r.BOM.index(), agents: newSlabs()}
	for _, d := range r.Detectors {
		share := r.Budget * d.Share
		e.detectors = append(e.detectors, watching{d.Detector, d.About(), share, full(share)})
	}
	return e
}

// UsePeers puts peers in force for the events from now on.
func (e *Engine) UsePeers(p *Peers) {
	e.peers, e.priors = p, map[*Group]*[maxDetectors]Prior{}
	if p == nil {
		return
	}
	for _, g := range p.Groups {
		e.priors[g] = g.priorsOf(e.detectors)
	}
}

// Count lets a census see the events from now on; nil ends it.
func (e *Engine) Count(c *Census) { e.census = c }

// Evidence says how far the session of an event, not yet observed, is then
// from how things come about among the peers of its agent: the largest surprise in
// it and a quarter of the next. It is 0 where peers are not in force, and says nothing about
// what the agent did not do itself: see [Engine.Trusts].
func (e *Engine) Evidence(ev *event.Event) float64 {
	a := e.agents.find(ownID(ev.Agent))
	if a == nil {
		a = &agent{}
	}
	v := e.view(ev, &a.profile)
	if v.Peers == nil {
		return 0
	}
	return v.Evidence
}

func (e *Engine) view(ev *event.Event, p *Profile) View {
	e.sight = sight{Event: ev, Profile: p, bill: e.bill, session: sessionOf(ev.Session)}
	v := View{&e.sight}
	if v.Session = p.session(v.session); v.Session == nil {
		e.none = Session{}
		v.Session = &e.none
	}
	if v.Peers = e.peers.of(v); v.Peers != nil {
		v.priors = e.priors[v.Peers]
	}
	if g := cmp.Or(v.Peers, e.census.of(v)); g != nil {
		v.Surprise = known{group: g}.surprise(v)
		v.Evidence = v.Session.against(v.Surprise)
	}
	return v
}

// Stats returns the counts so far.
func (e *Engine) Stats() Stats { return e.stats }

// Agents is how many profiles the engine holds.
func (e *Engine) Agents() int { return e.agents.known }

// Observe judges the event at an offset of the partition and then learns it.
// An event that its agent's profile has taken in already is left out. The
// strings of ev are not kept.
func (e *Engine) Observe(ev *event.Event, offset int64, src event.Source) []Finding {
	e.facts = e.facts[:0]
	a := e.admit(e.profileOf(ev, src), ev, offset, src)
	if a == nil {
		return nil
	}
	e.stats.Judged++
	if !a.profile.mature() {
		e.stats.Unknown++
	}
	astray := a.profile.volumes.astray(ev) // before it learns the destination
	found := e.judge(ev, a, src.Ahead)
	e.tell(a, ev, astray)
	e.stats.Findings += uint64(len(found))
	return found
}

// admit notes that the profile of an id takes an event in, and returns its agent: nil
// if it took the event in before.
func (e *Engine) admit(id string, ev *event.Event, offset int64, src event.Source) *agent {
	a := e.agents.find(id)
	if a == nil {
		if e.limit > 0 {
			e.makeRoom()
		}
		a = e.agents.add(id)
		a.profile = e.firstOf(id)
	}
	p := &a.profile
	if offset <= p.seen.applied {
		e.stats.Repeated++
		return nil
	}
	p.seen.applied = offset
	if !a.changed {
		a.changed, a.since, a.place = true, offset, e.yielded+len(e.changed)
		e.changed = append(e.changed, a)
	}
	s := sightingOf(ev, src)
	if p.seen.again(s) {
		e.stats.Repeated++
		return nil
	}
	p.seen.take(s)
	return a
}

func (e *Engine) judge(ev *event.Event, a *agent, ahead time.Duration) []Finding {
	p, now := &a.profile, instantOf(ev.Time)
	passed := elapsed(p.budgeted, now)
	switch {
	case p.budgeted == 0:
		passed = 0
		for _, d := range e.detectors {
			p.wealth[d.about.Slot] = firstWealth(d.share)
		}
		p.budgeted = now
	case passed < settling:
		passed = 0
	default:
		p.budgeted = now
	}
	v := e.view(ev, p)
	v.passed, v.ahead = passed, ahead
	v.occasions = occasions(v)

	var found []Finding
	var fired, odd uint16
	suspect := false
	days := paidDays(passed)
	for i := range e.detectors {
		d := &e.detectors[i]
		slot, common, none := d.about.Slot, &p.common, Wealth(0)
		v.slot = slot
		t := d.Judge(v)
		if days == 0 && t == (Test{}) && p.wealth[slot] <= d.full && p.doubts[slot] == 0 {
			continue // nothing was asked, and there is nothing to be paid in
		}
		odd |= bit(t.Odd) << slot
		if x := &p.doubts[slot]; *x != 0 {
			*x = x.fade(ev.Time)
			t, common = x.calibrated(t, d.share), &none
		}
		level, ok, watching := purse{&p.wealth[slot], common, d.share, e.rules.Budget, &e.stats.Risked[slot]}.decide(t, days, p.watching>>slot&1 != 0)
		p.watching = p.watching&^(1<<slot) | bit(watching)<<slot
		suspect = suspect || t.suspect()
		if !ok || v.Session.fired&(1<<i) != 0 && !t.Certain {
			continue
		}
		suspect = true
		fired |= 1 << i
		found = append(found, e.finding(d, v, e.agents.id(a), t.pValue(), level))
		switch d.Detector.(type) {
		case Drift:
			p.drifted = true
		case SlowDrift:
			p.anchors.report(v.Event.Time)
		}
	}
	if e.census != nil && e.agents.is(a, ownID(ev.Agent)) { // nobody else's word is to become the norm
		e.census.observe(v, ev.Session != "" && v.Session.id == 0, fired|v.Session.fired == 0, odd, passed)
	}
	p.age(passed)
	p.learn(v, suspect, fired|v.Session.fired != 0)
	p.observe(v)
	if s := p.session(v.session); s != nil {
		s.fired |= fired
		s.surprises = s.with(v.Surprise)
	}
	return found
}

// version names the rules and peers in force.
func (e *Engine) version() string {
	if e.peers == nil {
		return e.rules.Version
	}
	return e.rules.Version + "+" + e.peers.Version
}

// finding makes a finding of the profile with an id, which stands in its own id: nobody
// without trust can take away the id of one about the agent.
func (e *Engine) finding(d *watching, v View, id string, pValue, level float64) Finding {
	ev, a, c := v.Event, d.about, d.Explain(v)
	sum := sha256.Sum256([]byte(a.Name + "\x00" + id + "\x00" + ev.ID))
	f := Finding{
		ID: hex.EncodeToString(sum[:16]), Detector: a.Name, Threat: a.Threat, Severity: a.Severity, Time: ev.Time,
		Agent: strings.Clone(ev.Agent), Role: strings.Clone(ev.Role), Tenant: strings.Clone(e.tenant(ev, v.Profile)), Session: strings.Clone(ev.Session), User: strings.Clone(ev.User), Parent: strings.Clone(ev.Parent),
		Credential: Credential{ID: strings.Clone(ev.CredentialID), Issuer: strings.Clone(ev.CredentialIssuer), Subject: strings.Clone(ev.CredentialSubject)},
		Reason:     c.Reason, Observed: c.Observed, Baseline: c.Baseline, PValue: pValue, Level: level, Normal: cmp.Or(c.Normal, a.Normal),
		Did:   Act{strings.Clone(ev.Tool), strings.Clone(ev.Privilege), ev.Effect, strings.Clone(ev.Destination)},
		Novel: v.novel(), Event: strings.Clone(ev.ID), Evidence: append(c.Evidence, strings.Clone(ev.ID)), ASI: a.ASI, ATLAS: a.ATLAS, Rules: e.version(),
	}
	for _, entity := range c.Entities {
		f.Entities = append(f.Entities, Entity{entity.Kind, strings.Clone(entity.Name)})
	}
	p := v.Profile
	if ev.Privilege != "" {
		f.Nearest = p.privileges.nearest(ev.Privilege)
	}
	if f.Credential.ID == "" {
		f.Credential.ID = v.Session.credential.String()
	}
	if f.Credential.ID != "" && f.Credential.Issuer == "" {
		f.Credential.Issuer, f.Credential.Subject = p.issuer.String(), p.subject.String()
	}
	if f.Role == "" {
		f.Role = p.role.String()
	}
	return f
}

func bit(b bool) uint16 {
	if b {
		return 1
	}
	return 0
}

// full is the most wealth of a share from which nothing flows over to others.
func full(share float64) Wealth {
	w := Wealth(wealthDays * share)
	if float64(w) > wealthDays*share {
		w = Wealth(math.Nextafter32(float32(w), 0))
	}
	return w
}
