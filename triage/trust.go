package triage

import (
	"fmt"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// TrustedTelemetry is the value of auto_requires by which nothing is taken away
// from an agent automatically unless the event came from a source that may speak
// for that agent.
const TrustedTelemetry = "trusted_telemetry"

// Trusted is a source whose word about an agent is taken. Who can write a raw
// topic can raise findings about whom he likes, and so would have a victim
// stopped by its own defence. Kafka authenticates its writers, and its ACLs bind
// each to its topics; ingest notes from which topic it read a line, and no line
// can say otherwise. So a topic stands for whoever may write it.
type Trusted struct {
	Topics  []string `yaml:"topics"`  // globs of raw topics
	Agents  []string `yaml:"agents"`  // globs of the agents they may speak for; none: all
	Tenants []string `yaml:"tenants"` // globs of their tenants; none: all
}

// trusts reports whether the policy takes the word of a source about an agent.
func (p Policy) trusts(topic, agent, tenant string) bool {
	if p.AutoRequires == "" {
		return true
	}
	for _, x := range p.Trusted {
		if topic != "" && anyGlob(x.Topics, topic) && anyGlob(x.Agents, agent) && anyGlob(x.Tenants, tenant) {
			return true
		}
	}
	return false
}

// Trust is by what detection has to keep apart what it is told, so that a finding rests
// on nobody's word but that of who may speak for the agent; nil where the policy asks for none.
func (p Policy) Trust() detect.Trust {
	if p.AutoRequires == "" {
		return nil
	}
	return p.trusts
}

// TrustVersion names what the policy trusts; empty where it asks for no trust.
func (p Policy) TrustVersion() string {
	if p.AutoRequires == "" {
		return ""
	}
	return hash(fmt.Sprintf("%q", p.Trusted))
}

// mixed reports whether a finding may rest on what the policy does not trust, besides
// its event: whoever made it kept apart by another list, or nothing.
func (s stamps) mixed(p *Policy) bool { return s.trust != p.TrustVersion() && p.AutoRequires != "" }

// heard reports whether f is told by who may speak for its agent, and rests on nobody else's
// word. What is not says nothing about the agent: neither its risk nor a verdict on it does.
func (s stamps) heard(p *Policy, f *detect.Finding) bool {
	return p.trusts(s.topic, f.Agent, f.Tenant) && !s.mixed(p)
}

// forbids reports whether the policy keeps an action from going by itself
// because of where it was heard that the agent misbehaves. It is asked again for each step of
// a ladder, by the policy in force then.
func (p Policy) forbids(a command.Action) (why string, forbidden bool) {
	switch {
	case !a.Kind.Contains() || p.AutoRequires == "":
		return "", false
	case !p.trusts(a.Source, a.Target.Agent, a.Target.Tenant):
		return fmt.Sprintf("the event came from %q, which is not trusted to speak for the agent", cut(a.Source, 256)), true
	}
	return "detection does not keep apart what this policy does not trust: it has another rules.response, or had when it made the finding", a.Trust != p.TrustVersion()
}

func (v *problems) trust(p Policy) {
	if p.AutoRequires != "" && p.AutoRequires != TrustedTelemetry {
		v.add("auto_requires: is %.40q, want %s, or nothing", p.AutoRequires, TrustedTelemetry)
	}
	if (p.AutoRequires != "") != (len(p.Trusted) > 0) {
		v.add("trusted_telemetry: has %d sources, want one or more with auto_requires, and none without", len(p.Trusted))
	}
	for i, x := range p.Trusted {
		path := fmt.Sprintf("trusted_telemetry[%d]", i)
		if len(x.Topics) == 0 {
			v.add("%s.topics: is empty, want globs of raw topics that only shippers may write who are trusted", path)
		}
		v.globs(path+".topics", x.Topics)
		v.globs(path+".agents", x.Agents)
		v.globs(path+".tenants", x.Tenants)
	}
}
