package detect

import (
	"strings"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Trust says whether what a raw topic tells of an agent is to be taken for that agent's
// own doing.
type Trust func(topic, agent, tenant string) bool

// UseTrust keeps apart, from now on, what comes from where nobody may speak for the
// agent: it is judged and learned in a profile beside the agent's own, which begins as a
// copy of that. So whoever can write a topic that is not trusted can neither bend what is
// normal for another agent, nor lay the evidence on which a true event of it is judged
// later, nor hide what it does; and what he tells of it is found odd all the same. With nil
// all that comes about an agent is its own.
func (e *Engine) UseTrust(t Trust) { e.trust = t }

// apart ends the id of the profile of what was told of an agent without trust.
const apart = "\x00"

// profileOf is the id of the profile that an event belongs to.
func (e *Engine) profileOf(ev *event.Event, src event.Source) string {
	if e.Trusts(ev, src) {
		return ownID(ev.Agent)
	}
	return ev.Agent + apart
}

// Trusts reports whether what an event says, not yet observed, is taken for its agent's own
// doing. What came by no raw topic is a decision of ours. A line names its own tenant, so
// who is trusted with some tenants has to be with the one that the agent is known to be of, too.
func (e *Engine) Trusts(ev *event.Event, src event.Source) bool {
	if e.trust == nil || src.Topic == "" {
		return true
	}
	if !e.trust(src.Topic, ev.Agent, ev.Tenant) {
		return false
	}
	known := e.tenantOf(ev.Agent)
	return known == (Brief{}) || known == brief(ev.Tenant) || e.trust(src.Topic, ev.Agent, known.String())
}

// tenantOf is the tenant that an agent is known to be of by what it does itself; empty where it is not known.
func (e *Engine) tenantOf(agent string) Brief {
	if own := e.agents.find(ownID(agent)); own != nil {
		return own.profile.tenant
	}
	return Brief{}
}

// tenant names the tenant that a claim about an event is of: where somebody may speak for some
// agents only, that of which the agent is known to be, whatever the line says.
func (e *Engine) tenant(ev *event.Event, p *Profile) string {
	if e.trust != nil {
		if known := e.tenantOf(ev.Agent); known != (Brief{}) && known != brief(ev.Tenant) {
			return known.String()
		}
	}
	if ev.Tenant == "" {
		return p.tenant.String()
	}
	return ev.Tenant
}

// ownID is the id of the profile of what an agent does itself: its name. An agent by a name that
// ends as if it were apart has one profile alone, so that it is neither another's nor a copy of that.
func ownID(agent string) string {
	if strings.HasSuffix(agent, apart) {
		return agent + apart
	}
	return agent
}

// firstOf is the profile that an id begins with. A copy is not written after its original,
// see [Engine.ChangedBefore]: a replay could not make it again from one that is ahead.
func (e *Engine) firstOf(id string) (p Profile) {
	if agent, ok := strings.CutSuffix(id, apart); ok && agent == ownID(agent) {
		if own := e.agents.find(agent); own != nil {
			p, own.copied = own.profile, true
		}
	}
	p.seen = Seen{applied: -1}
	return p
}

// NameOf says to a person whose profile has an id.
func NameOf(id string) string {
	if agent, ok := strings.CutSuffix(id, apart); ok {
		return Untrusted(agent)
	}
	return id
}

// Untrusted names the profile of what was told of an agent without trust.
func Untrusted(agent string) string { return agent + byOthers }

// AgentOf is the agent of which somebody was told by a name, and whether the name is that of
// what was told of it without trust.
func AgentOf(name string) (agent string, apart bool) { return strings.CutSuffix(name, byOthers) }

const byOthers = " (untrusted)"
