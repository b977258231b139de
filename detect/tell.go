package detect

import (
	"cmp"
	"math/bits"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// What an agent tells of shared things is bounded: a fact is told once in a week,
// and no more of them in an hour than any honest agent has.
const (
	toldSets  = 16 // of marks
	toldWays  = 4  // marks in a set
	toldHours = 7 * 24
	toldLimit = 120 // in an hour
)

// telling is which facts of an agent were told lately. It is no part of the
// profile: after a crash they are told again, which changes nothing to those who
// judge them. What lasts is told anew each week, so that it is still known when
// the log of facts has forgotten what lies a month back.
type telling struct {
	marks [toldSets][toldWays]uint16 // the one told last in front
	told  uint8                      // in the hour
	hour  uint32                     // since 1970
	week  uint32
	ran   uint32 // what the agent was at work with when it was told last, and on which day
	built bool   // the agent has told its build, or did before a restart as far as its profile knows
}

// lineage names the records that the session read last, without the one that it writes.
func (s *Session) lineage(written string) (names []string) {
	for _, fp := range s.read {
		if name := recordEntity(fp); fp != 0 && name != written {
			names = append(names, name)
		}
	}
	return names
}

// news reports whether a fact was not told lately: it is to be told now, or held
// back because too many were told in this hour.
func (t *telling) news(at event.Timestamp, fact uint64) (now, held bool) {
	hour := hourOf(at)
	if week := hour / toldHours; week > t.week {
		*t = telling{week: week, built: t.built}
	}
	m, set := mark(fact), &t.marks[fact%toldSets]
	if m == set[0] || m == set[1] || m == set[2] || m == set[3] {
		return false, false
	}
	if hour > t.hour {
		t.hour, t.told = hour, 0
	}
	if t.told >= toldLimit {
		return false, true
	}
	t.told++
	set[0], set[1], set[2], set[3] = m, set[0], set[1], set[2]
	return true, false
}

// factID is the identity of what a fact says, short of when.
func factID(kind uint64, parts ...string) uint64 {
	h := kind
	for _, p := range parts {
		h = bits.RotateLeft64(h, 23)*0x9e3779b97f4a7c15 ^ xxhash.Sum64String(p)
	}
	return h
}

// What a fact can say; see [factID].
const (
	holdsCredential = iota + 1
	handsOn
	usesTool
	meetsDefinition
	writes
	reads
	actsOn
	actsAstray
	sendsTo
	servesPrincipal
	runs
)

// Facts are what the event observed last says of things that other agents meet,
// too. Their strings are those of the event, and they are valid until the next
// one is observed.
func (e *Engine) Facts() []Fact { return e.facts }

// tell gathers the facts of an event that was judged, of which it was known before
// whether it goes astray, if nobody asked for it.
func (e *Engine) tell(a *agent, ev *event.Event, astray bool) {
	if len(e.rules.Joint) == 0 {
		return
	}
	if ev.CredentialID != "" && e.news(a, ev, factID(holdsCredential, ev.CredentialID)) {
		e.fact(a, ev, Fact{Kind: CredentialFact, Entity: ev.CredentialID})
	}
	if ev.User != "" && e.news(a, ev, factID(servesPrincipal, ev.User)) {
		e.fact(a, ev, Fact{Kind: PrincipalFact, Entity: ev.User})
	}
	switch ev.Name {
	case event.SessionStart, event.ModelCall:
		e.tellRuns(a, ev)
	case event.ToolCall, event.ToolDefinition:
		e.tellTool(a, ev)
		e.tellActed(a, ev, astray)
	case event.MemoryRead, event.MemoryWrite:
		e.tellRecord(a, ev)
	case event.Delegation:
		if s := a.profile.session(e.sight.session); s != nil && ev.Delegate != "" {
			id := s.credential.String()
			if id != "" && e.news(a, ev, factID(handsOn, id, ev.Delegate)) {
				e.fact(a, ev, Fact{Kind: CredentialFact, Entity: id, Delegate: ev.Delegate})
			}
		}
	}
}

// tellRuns tells each day which build and model the agents of a role run: who has not
// followed another is known by what he still runs. Where the agent tells its build with some
// events, the others say nothing of it.
func (e *Engine) tellRuns(a *agent, ev *event.Event) {
	t := &a.telling
	t.built = t.built || ev.Version != "" || a.profile.partsKnown(build) > 0
	if ev.Version == "" && (ev.Model == "" || t.built) {
		return
	}
	id := factID(runs+uint64(dayOf(ev.Time))<<8, ev.Version, ev.Model)
	ran := fingerprint(id)
	if ran == t.ran {
		return
	}
	t.ran = ran
	role := cmp.Or(ev.Role, a.profile.role.String())
	if role != "" && e.news(a, ev, id) {
		e.fact(a, ev, Fact{Kind: DeploymentFact, Entity: role, Runs: strings.TrimSpace(ev.Version + " " + ev.Model)})
	}
}

// tellTool tells which server a tool is from, how it is defined and where the call goes.
func (e *Engine) tellTool(a *agent, ev *event.Event) {
	if ev.Tool != "" && ev.Server != "" {
		if e.news(a, ev, factID(usesTool, ev.Tool, ev.Server)) {
			e.fact(a, ev, Fact{Kind: ToolFact, Entity: ev.Tool, Server: ev.Server, Effect: ev.Effect})
		}
		if ev.ToolHash != "" && e.news(a, ev, factID(meetsDefinition, ev.Tool, ev.Server, ev.ToolHash)) {
			e.fact(a, ev, Fact{Kind: ServerFact, Entity: ev.Server, Tool: ev.Tool, Hash: ev.ToolHash, Effect: ev.Effect})
		}
	}
	if ev.Destination != "" && ev.Effect.Changes() && e.news(a, ev, factID(sendsTo, ev.Destination)) {
		e.fact(a, ev, Fact{Kind: DestinationFact, Entity: ev.Destination, Tool: ev.Tool, Effect: ev.Effect})
	}
}

// tellActed tells on the word of which memory records an effectful call may be.
func (e *Engine) tellActed(a *agent, ev *event.Event, astray bool) {
	s := a.profile.session(e.sight.session)
	if s == nil || s.read[0] == 0 || !effectful(ev) || !fromMemory(ev) {
		return
	}
	asked, known := s.asked(ev.Effect)
	astray = astray && known && !asked
	deed := uint64(actsOn)
	if astray {
		deed = actsAstray
	}
	for _, fp := range s.read {
		if fp != 0 && e.news(a, ev, factID(deed+uint64(fp)<<8, ev.Session)) {
			e.fact(a, ev, Fact{Kind: RecordFact, Entity: recordEntity(fp), Deed: Acted, Tool: ev.Tool, Effect: ev.Effect, Astray: astray})
		}
	}
}

// tellRecord tells who reads and who writes a memory record. Each writing is
// told: what was clean may be poisoned, and the other way round.
func (e *Engine) tellRecord(a *agent, ev *event.Event) {
	if ev.Record == "" {
		return
	}
	id := factID(reads, ev.Store, ev.Record)
	if ev.Name == event.MemoryWrite {
		id = factID(writes, ev.ID)
	}
	if !e.news(a, ev, id) {
		return
	}
	f := Fact{Kind: RecordFact, Entity: recordEntity(fingerprint(hash(ev.Store, ev.Record))), Deed: Read, Store: ev.Store, Record: ev.Record}
	if ev.Name == event.MemoryWrite {
		s := a.profile.session(e.sight.session)
		f.Deed, f.Untrusted = Wrote, ev.Origin == event.FromUntrusted || ev.Origin == "" && s != nil && !s.tainted.empty()
		if s != nil {
			f.Tainted, f.Lineage = !s.tainted.empty(), s.lineage(f.Entity)
		}
	}
	e.fact(a, ev, f)
}

// news reports whether a fact is to be told now.
func (e *Engine) news(a *agent, ev *event.Event, id uint64) bool {
	now, held := a.telling.news(ev.Time, id)
	if held {
		e.stats.Held++
	}
	return now
}

// fact tells f with what every fact of the event has.
func (e *Engine) fact(a *agent, ev *event.Event, f Fact) {
	p := &a.profile
	f.Entity = entityName(f.Entity)
	f.Time, f.Latest, f.Event, f.Agent, f.Role, f.Tenant = ev.Time, p.last.stamp(), ev.ID, ev.Agent, ev.Role, e.tenant(ev, p)
	f.Session, f.User, f.Parent, f.Chain = ev.Session, ev.User, ev.Parent, ev.Chain
	f.Credential = Credential{ID: ev.CredentialID, Issuer: ev.CredentialIssuer, Subject: ev.CredentialSubject}
	if s := p.session(e.sight.session); f.Credential.ID == "" && s != nil {
		f.Credential.ID = s.credential.String()
	}
	if f.Credential.ID != "" && f.Credential.Issuer == "" {
		f.Credential.Issuer, f.Credential.Subject = p.issuer.String(), p.subject.String()
	}
	if f.Role == "" {
		f.Role = p.role.String()
	}
	f.Known, f.Deployed = p.mature(), p.deploying(ev.Time)
	if f.Kind == ToolFact || f.Kind == ServerFact {
		f.Deployed = p.announced(ev.Time)
	}
	e.facts = append(e.facts, f)
	e.stats.Told++
}
