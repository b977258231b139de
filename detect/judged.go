package detect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Unit names what has habits of its own among the things that several agents share: an
// issuer of credentials, a server, a tool, a store. A detector's finding names the one that it was
// held against, so that a verdict on it reaches that one.
func Unit(k FactKind, detector, name string) string {
	return fmt.Sprintf("%s/%s:%012x", k, detector, hash(name)&(1<<48-1))
}

// parseUnit is the kind of facts that a unit is of, and whose finding named it.
func parseUnit(unit string) (k FactKind, detector string, ok bool) {
	about, _, named := strings.Cut(unit, ":")
	kind, detector, ok := strings.Cut(about, "/")
	return FactKind(kind), detector, ok && named && slices.Contains(FactKinds(), FactKind(kind))
}

// tellVerdict tells of a verdict those who judge what several agents share, at the time
// that the agent's events have come to, in the tenant of the findings: the verdict names it, as
// a profile keeps a part alone of a long name.
func (e *Engine) tellVerdict(a *agent, ev *event.Event, v Verdict) {
	at := a.profile.last.stamp()
	if at == 0 {
		return
	}
	tenant := cmp.Or(ev.Tenant, a.profile.tenant.String())
	for _, unit := range v.Novel {
		kind, detector, ok := parseUnit(unit)
		if ok && slices.Contains(v.Detectors, detector) && slices.ContainsFunc(e.rules.Joint, func(j Joint) bool { return j.Name == detector }) {
			e.facts = append(e.facts, Fact{Kind: kind, Entity: unit, Tenant: tenant, Time: at, Latest: at, Event: ev.ID, Agent: ev.Agent,
				Deed: Judged, Tool: detector, Hash: v.verb()})
			e.stats.Told++
		}
	}
}

// VerdictOf is the verdict that a fact of the deed [Judged] is; ok is false for any other.
func (f *Fact) VerdictOf() (v Verdict, ok bool) {
	if f.Deed != Judged {
		return v, false
	}
	return Operation(f.Hash + " " + f.Tool).verdict()
}
