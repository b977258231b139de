package entity

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stakeout-project/stakeout/detect"
)

// credential finds a credential that a second agent uses: one that is neither the
// parent nor a child of the first, has no delegation chain with it, and was not
// handed the credential. Where an issuer's credentials are often shared, as those of
// service accounts are, it is no surprise. It says nothing of events without
// credential ids, of more than eight agents that share one, and of an agent that
// takes the credential of its parent.
func (e *Engine) credential(f *detect.Fact, g *group) []detect.Finding {
	t := e.thing(f)
	if f.Delegate != "" && len(t.handed) < maxForms {
		if t.handed == nil {
			t.handed = map[string]bool{}
		}
		t.handed[strings.Clone(f.Delegate)] = true
	}
	if len(t.forms) >= maxForms && !slices.ContainsFunc(t.forms, func(x form) bool { return byAgent.same(x.fact(), f) }) {
		return nil
	}
	var found []detect.Finding
	for _, x := range e.meet(&t.forms, byAgent, f) {
		x.judged = true
		first, own := t.forms[0].fact(), x.fact()
		if t.handed[own.Agent] || slices.ContainsFunc(before(t.forms, x), func(b form) bool { return related(b.fact(), own) }) {
			continue
		}
		u := g.unit(own.Credential.Issuer)
		rate, ok := e.surprise(detect.SharedCredentialDetector, g, u, t, own, own.Known)
		if !ok {
			continue
		}
		found = append(found, e.finding(claim{
			normal: "a delegation between the two, or an issuer whose tokens are often shared",
			thing:  t, unit: own.Credential.Issuer, detector: detect.SharedCredentialDetector, threat: detect.CredentialEscalation, severity: detect.High,
			asi: []string{"ASI03"}, atlas: []string{"AML.T0091.000"},
			about: []string{own.Entity, own.Agent}, on: own, rate: rate, evidence: []*detect.Fact{first},
			entities: []detect.Entity{{Kind: detect.CredentialEntity, Name: own.Entity}},
			reason:   fmt.Sprintf("%s acts with a credential of %s, with which it has nothing to do", own.Agent, first.Agent),
			observed: fmt.Sprintf("credential %s, used by %s at %s and by %s at %s; no delegation between them", own.Entity, first.Agent, first.Time, own.Agent, own.Time),
			baseline: fmt.Sprintf("of %s: %.1f sharings expected in 1,000 agent-days, %.0f seen", issuer(own), 1000*rate, g.exposure(own)),
		}))
	}
	return found
}

func issuer(f *detect.Fact) string {
	if f.Credential.Issuer == "" {
		return "credentials whose issuer is not known"
	}
	return "credentials of " + f.Credential.Issuer
}

// related reports whether two agents are of one delegation: parent and child,
// children of one parent, or one in the chain of the other.
func related(a, b *detect.Fact) bool {
	return a.Agent == b.Parent || b.Agent == a.Parent || a.Parent != "" && a.Parent == b.Parent ||
		slices.Contains(a.Chain, b.Agent) || slices.Contains(b.Chain, a.Agent)
}
