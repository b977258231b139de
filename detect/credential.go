package detect

import (
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// CredentialMisuse finds an agent that acts with a credential after its expiry, or
// with one that carries scopes which no credential of this agent ever carried.
type CredentialMisuse struct{ Prior Prior }

// About implements [Detector].
func (d CredentialMisuse) About() About {
	return About{Slot: 9, Name: "credential", Threat: CredentialEscalation, Severity: High,
		Normal: "a credential in its time, with the scopes that this agent's have",
		ASI:    []string{"ASI03"}, ATLAS: []string{"AML.T0091.000"}}
}

func (d CredentialMisuse) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every event that uses a credential and
// says when that expires, or what its scopes are. Scopes that come within two hours
// of a deployment are taken for a part of it.
func (d CredentialMisuse) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.ask(credentials, d.Prior)
}

// What is remembered of an agent's credentials: in its first slot how long after
// expiry they were used, in the others which scopes they carried.
const (
	lapse  = 0
	growth = 1
)

// clockSlack is how far the clocks of honest machines are apart at most.
const clockSlack = 5 * time.Minute

// An agent that has used credentials so often, and never after they had expired, has a
// clock that agrees with its issuer's: then late is late, from half a minute on.
const (
	punctualUses = 500
	leastLate    = 30 * time.Second
)

func escalate(v View) occasion {
	ev, h := v.Event, v.Profile.habit(credentials)
	var o occasion
	if ev.CredentialExpires != 0 && usesCredential(ev.Name) {
		o.trial = true
		if level := overdue(ev); level > 0 {
			by := 2 // a habit of being late varies
			if h.items[lapse] == 0 {
				by = 1
			}
			slack := clockSlack
			if h.items[lapse] == 0 && h.trials >= punctualUses {
				slack = leastLate
			}
			o.item = degree(lapse, level)
			o.odd = ev.Time.Sub(ev.CredentialExpires) >= slack && extents(h.items).beyond(lapse, level, by)
			return o
		}
	}
	if len(ev.CredentialScopes) > 0 && (v.Session.id == 0 || checksum(ev.CredentialScopes) != v.Session.scopes) {
		o.trial = true
		held := scopesHeld(h)
		if n, _ := held.missing(ev.CredentialScopes); n > 0 {
			o.item, o.odd = degree(growth, 1), !held.none() && !v.Profile.deploying(ev.Time)
		}
	}
	return o
}

// usesCredential reports whether an event of that name is an act, not what comes of one.
func usesCredential(name event.Name) bool {
	switch name {
	case event.SessionStart, event.CredentialUse, event.CredentialIssue, event.ToolCall, event.Delegation, event.MemoryRead, event.MemoryWrite, event.MemoryDelete:
		return true
	}
	return false
}

// overdue is how long after its expiry a credential is used, in doublings of half a
// minute: 0 within it.
func overdue(ev *event.Event) int {
	return doublings(int64(ev.Time.Sub(ev.CredentialExpires) / leastLate))
}

// admitCredential makes what ev's credential does a habit.
func (p *Profile) admitCredential(ev *event.Event, item uint64) {
	h := p.habit(credentials)
	if item>>8 == lapse {
		extents(h.items).raise(item)
		return
	}
	scopesHeld(h).add(ev.CredentialScopes)
}

// Explain implements [Detector].
func (d CredentialMisuse) Explain(v View) Claim {
	ev, h := v.Event, v.Profile.habit(credentials)
	name := "its credential"
	if ev.CredentialID != "" {
		name = "credential " + ev.CredentialID
	}
	since := v.Profile.first.Time().Format("2006-01-02")
	if overdue(ev) > 0 && escalate(v).item>>8 == lapse {
		usual := "never beyond half a minute"
		if n := h.items[lapse]; n > 0 {
			usual = fmt.Sprintf("at most %s", leastLate<<n)
		}
		return Claim{
			Reason:   fmt.Sprintf("%s acts with %s after it has expired", ev.Agent, name),
			Observed: fmt.Sprintf("%s of %s at %s, %s after it expired", ev.Name, name, ev.Time.Time().Format(time.RFC3339), ev.Time.Sub(ev.CredentialExpires).Round(time.Second)),
			Baseline: fmt.Sprintf("in %d uses since %s %s after expiry; %.1f surprises by its credentials", h.trials, since, usual, h.surprises),
		}
	}
	n, first := scopesHeld(h).missing(ev.CredentialScopes)
	return Claim{
		Reason:   fmt.Sprintf("%s acts with %s that carries more than any credential of this agent did", ev.Agent, name),
		Observed: fmt.Sprintf("%d of %d scopes never held before, %s first: %s", n, len(ev.CredentialScopes), first, list(ev.CredentialScopes)),
		Baseline: fmt.Sprintf("in %d uses since %s %.1f surprises by its credentials", h.trials, since, h.surprises),
	}
}

// scopeWords is the size of the filter of scopes, in words of 16 bits.
const scopeWords = 8

// A scopeFilter is a Bloom filter of the scopes that an agent's credentials have
// carried. Of a new scope beside twenty known it takes one in fourteen for known,
// beside forty one in five: what it errs in passes.
type scopeFilter []uint16

func scopesHeld(h habit) scopeFilter { return scopeFilter(h.items[growth:]) }

// places are the two bits of a scope.
func (f scopeFilter) places(scope string) (a, b uint64) {
	h := xxhash.Sum64String(scope)
	return h % (scopeWords * 16), h >> 32 % (scopeWords * 16)
}

func (f scopeFilter) add(scopes []string) {
	for _, s := range scopes {
		a, b := f.places(s)
		f[a/16] |= 1 << (a % 16)
		f[b/16] |= 1 << (b % 16)
	}
}

// missing returns how many scopes are certainly new, and the first of them.
func (f scopeFilter) missing(scopes []string) (n int, first string) {
	for _, s := range scopes {
		a, b := f.places(s)
		if f[a/16]>>(a%16)&1 == 1 && f[b/16]>>(b%16)&1 == 1 {
			continue
		}
		if n++; n == 1 {
			first = s
		}
	}
	return n, first
}

func (f scopeFilter) none() bool {
	for _, w := range f {
		if w != 0 {
			return false
		}
	}
	return true
}

// checksum tells most lists of scopes apart, at a cost that every event can bear. The
// same scopes again need no second look.
func checksum(scopes []string) uint16 {
	sum := uint16(len(scopes)) + 1
	for _, s := range scopes {
		sum = sum*31 + uint16(len(s))
		if s != "" {
			sum = sum*31 + uint16(s[0])<<8 + uint16(s[len(s)-1])
		}
	}
	return sum
}

// trackScopes takes in what the session's credential may do, and what of it is handed on.
func (s *Session) trackScopes(ev *event.Event) {
	if len(ev.CredentialScopes) == 0 {
		return
	}
	if sum := checksum(ev.CredentialScopes); sum != s.scopes {
		s.scopes, s.delegated = sum, 0
	}
	if ev.Name == event.Delegation {
		s.delegated |= handedOn(ev)
	}
}
