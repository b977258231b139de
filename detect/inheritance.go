package detect

import (
	"fmt"
	"math/bits"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Inheritance finds an agent that hands on all, or nearly all, of what it may do
// itself, or more, where it used to hand on a part.
type Inheritance struct{ Prior Prior }

// About implements [Detector].
func (d Inheritance) About() About {
	return About{Slot: 8, Name: "inheritance", Threat: UnscopedInheritance, Severity: Medium,
		Normal: "a delegation with the scopes that the work takes, as the agent's others",
		ASI:    []string{"ASI03"}, ATLAS: []string{"AML.T0053"}}
}

func (d Inheritance) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every delegation that says its scopes
// and those of the delegator's credential, of which there must be two or more: one
// scope cannot be narrowed. Delegations of one session count together.
func (d Inheritance) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.ask(delegations, d.Prior)
}

// The extent of a delegation is in eighths of the delegator's scopes.
const (
	whole       = 8
	excess      = whole + 1 // a scope that the delegator does not hold
	nearlyWhole = 6
)

// fewDelegations is how many must be known before one can be wider than usual.
const fewDelegations = 5

func inherit(v View) occasion {
	ev := v.Event
	if ev.Name != event.Delegation || len(ev.DelegateScopes) == 0 || len(ev.CredentialScopes) < 2 {
		return occasion{}
	}
	level, _ := width(ev, v.Session)
	h := v.Profile.habit(delegations)
	by := 2
	if level == excess {
		by = 1
	}
	return occasion{trial: true, item: degree(0, level),
		odd: level >= nearlyWhole && h.trials >= fewDelegations && extents(h.items).beyond(0, level, by)}
}

// width is how much of the delegator's scopes a session has delegated, ev included.
func width(ev *event.Event, s *Session) (level, handed int) {
	handed = bits.OnesCount32(s.delegated | handedOn(ev))
	for _, scope := range ev.DelegateScopes {
		if !covers(ev.CredentialScopes, scope) {
			return excess, handed
		}
	}
	return max(1, whole*handed/min(len(ev.CredentialScopes), 32)), handed
}

// handedOn marks the scopes of the delegator that ev delegates, by their place: the first 32.
func handedOn(ev *event.Event) (places uint32) {
	for i, scope := range ev.CredentialScopes {
		if i < 32 && covers(ev.DelegateScopes, scope) {
			places |= 1 << i
		}
	}
	return places
}

// Explain implements [Detector].
func (d Inheritance) Explain(v View) Claim {
	ev, h := v.Event, v.Profile.habit(delegations)
	level, handed := width(ev, v.Session)
	to := ev.Delegate
	if to == "" {
		to = "its delegate"
	}
	c := Claim{
		Reason:   fmt.Sprintf("%s delegated to %s nearly everything that it may do itself", ev.Agent, to),
		Observed: fmt.Sprintf("%d of its %d scopes delegated in this session: %s", handed, len(ev.CredentialScopes), list(ev.DelegateScopes)),
		Baseline: fmt.Sprintf("in %d delegations with known scopes since %s %s; %.1f wider than before",
			h.trials, v.Profile.first.Time().Format("2006-01-02"), eighths(int(h.items[0])), h.surprises),
	}
	switch level {
	case whole:
		c.Reason = fmt.Sprintf("%s delegated to %s everything that it may do itself", ev.Agent, to)
	case excess:
		c.Reason = fmt.Sprintf("%s delegated to %s more than it may do itself", ev.Agent, to)
		c.Observed += "; held: " + list(ev.CredentialScopes)
	}
	return c
}

// eighths says an extent by its bound.
func eighths(level int) string {
	switch level {
	case 0:
		return "none"
	case whole:
		return "up to all of its scopes"
	case excess:
		return "even more than its scopes"
	}
	return fmt.Sprintf("less than %d/8 of its scopes", level+1)
}
