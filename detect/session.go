package detect

import (
	"math"
	"slices"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// sessionSlots is how many sessions of one agent are followed at a time; a new
// one takes the place of the one quiet for longest.
const sessionSlots = 4

// A Session is what must be remembered of one session to judge its later events.
type Session struct {
	id      uint32 // fingerprint of its name
	last    instant
	intents uint16 // effects that the user asked for, a bit each; see the lowest and the highest one
	fired   uint16 // detectors that have spoken in this session, a bit each

	credential Text       // that the session acts with
	tainted    Reference  // to the event that brought untrusted content in
	poison     uint32     // fingerprint of the poisoned memory record that was read first
	surprises  [2]fixed16 // the largest to the agent's peers
	worded     uint32     // tools called in the user's own words, a Bloom filter
	read       [2]uint32  // fingerprints of the memory records read last

	delegated  uint32 // scopes of its credential that were handed on, a bit each, by their place
	numbers    numbers
	unanswered uint8  // turns with calls since a result came in last
	scopes     uint16 // checksum of those that its credential was seen with last
}

// asked reports whether the user asked for e, and whether it is known what the user asked for.
func (s *Session) asked(e event.Effect) (asked, known bool) {
	return s.intents&intent(e) != 0, s.intents&told != 0
}

// wish is what the user asked for, a bit for each effect; 0 where he asked for none,
// or it is not known for what.
func (s *Session) wish() uint16 { return s.intents & effects }

// sensitive reports whether sensitive data was read in the session.
func (s *Session) sensitive() bool { return s.intents&readSensitive != 0 }

const (
	told          = 1 << 0       // it is known what the user asked for
	readSensitive = 1 << 15      // sensitive data was read
	underWay      = 1 << 14      // a message or a call has come
	thought       = 1 << 13      // the model was called since a tool was
	effects       = 1<<10 - 1<<1 // all that [intent] knows
)

// with returns the surprises with one more. One as large as one that is there adds
// nothing: it is the same call again, or a line that came twice.
func (s *Session) with(surprise float64) [2]fixed16 {
	top, x := s.surprises, fixed16Of(surprise)
	for i := range top {
		if x == top[i] {
			break
		}
		if x > top[i] {
			x, top[i] = top[i], x
		}
	}
	return top
}

// against says how far the session is, with one more surprise, from how things come
// about among the agent's peers: the largest and a quarter of the next.
func (s *Session) against(surprise float64) float64 {
	top := s.with(surprise)
	return top[0].float() + top[1].float()/4
}

// A fixed16 is a number in units of 1/512; from 128 on all are the same.
type fixed16 uint16

func fixed16Of(x float64) fixed16 {
	return fixed16(math.Round(math.Max(0, math.Min(x*512, math.MaxUint16))))
}

func (n fixed16) float() float64 { return float64(n) / 512 }

// calledInWords reports whether a tool was called with an argument in the user's own words.
func (s *Session) calledInWords(tool string) bool {
	bits := toolBits(tool)
	return s.worded&bits == bits
}

// toolBits are three bits of a Bloom filter of tools: with three tools in it, one in
// seventy others is taken for one of them.
func toolBits(tool string) uint32 {
	h := hash(tool)
	return 1<<(h%32) | 1<<(h>>5%32) | 1<<(h>>10%32)
}

// intent is the bit of an effect.
func intent(e event.Effect) uint16 {
	switch e {
	case event.Read:
		return 1 << 1
	case event.Fetch:
		return 1 << 2
	case event.Write:
		return 1 << 3
	case event.Send:
		return 1 << 4
	case event.Share:
		return 1 << 5
	case event.Delete:
		return 1 << 6
	case event.Money:
		return 1 << 7
	case event.Execute:
		return 1 << 8
	case event.Auth:
		return 1 << 9
	}
	return 0
}

// sessionOf is the fingerprint of a session's name; 0 for none.
func sessionOf(id string) uint32 {
	if id == "" {
		return 0
	}
	return fingerprint(hash(id))
}

// session returns the slot of a session, nil if it is not followed.
func (p *Profile) session(id uint32) *Session {
	if id == 0 {
		return nil
	}
	for i := range p.sessions {
		if p.sessions[i].id == id {
			return &p.sessions[i]
		}
	}
	return nil
}

// follow returns the slot of a session, taking the quietest one for a new session.
func (p *Profile) follow(id uint32) *Session {
	if s := p.session(id); s != nil || id == 0 {
		return s
	}
	oldest := &p.sessions[0]
	for i := range p.sessions {
		if p.sessions[i].last < oldest.last {
			oldest = &p.sessions[i]
		}
	}
	*oldest = Session{id: id}
	return oldest
}

// track takes the facts of ev into its session: what the user asked for, which
// credential it acts with, whether untrusted content or a poisoned memory
// record came in. Facts are kept of suspect events too.
func (p *Profile) track(v View) {
	ev, s := v.Event, p.follow(v.session)
	if s == nil {
		return
	}
	p.trackSignals(ev, s)
	s.last = max(s.last, instantOf(ev.Time))
	for _, e := range ev.Intents {
		s.intents |= intent(e) | told
	}
	if sensitive(ev) {
		s.intents |= readSensitive
	}
	if ev.CredentialID != "" {
		s.credential.set(ev.CredentialID)
	}
	if ev.Trust == event.Untrusted && s.tainted.empty() {
		s.tainted.set(ev.ID)
	}
	s.trackScopes(ev)
	switch ev.Name {
	case event.UserMessage:
		s.intents |= underWay
	case event.ToolCall:
		s.intents |= underWay
		if slices.ContainsFunc(ev.ArgOrigins, func(m event.Member[event.Origin]) bool { return m.Value == event.FromUser }) {
			s.worded |= toolBits(ev.Tool)
		}
	case event.MemoryWrite:
		p.wrote(ev, s)
	case event.MemoryRead:
		if fp := fingerprint(hash(ev.Store, ev.Record)); ev.Record != "" && fp != s.read[0] {
			s.read = [2]uint32{fp, s.read[0]}
		}
		if s.poison == 0 && p.readsPoison(ev, s) {
			s.poison = fingerprint(hash(ev.Store, ev.Record))
			p.recalled = recalled{session: s.id, read: reference(ev.ID)}
		}
	}
}
