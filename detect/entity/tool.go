package entity

import (
	"fmt"

	"github.com/stakeout-project/stakeout/detect"
)

// definition finds a tool whose definition changes under its name, at a server
// that has been known with another one for a day: a rug pull. It is found once,
// on the agent that met it first. An agent that was just deployed explains the change, and a
// server that changes its definitions often is expected to. It says nothing where
// server or hash are missing.
func (e *Engine) definition(f *detect.Fact, g *group) []detect.Finding {
	t := e.thing(f, f.Tool)
	u := g.unit(f.Entity)
	var found []detect.Finding
	for _, x := range e.meet(&t.forms, byHash, f) {
		was, own := before(t.forms, x), x.fact()
		last := was[len(was)-1].fact()
		if own.Time.Sub(was[0].since()) < known {
			continue
		}
		x.judged = true
		if own.Deployed {
			continue
		}
		t.decided = false // each change is one of its own
		rate, ok := e.surprise(detect.ToolDefinitionDetector, g, u, t, own, true)
		if !ok {
			continue
		}
		found = append(found, e.finding(claim{
			normal: "a deployment of the agent that meets the change (config.change), or a server that changes its definitions often",
			thing:  t, unit: f.Entity, detector: detect.ToolDefinitionDetector, threat: detect.ToolPoisoning, severity: detect.High,
			asi: []string{"ASI02", "ASI04"}, atlas: []string{"AML.T0110", "AML.T0109"},
			about: []string{own.Entity, own.Tool, own.Hash}, on: own, rate: rate, evidence: []*detect.Fact{last},
			entities: []detect.Entity{{Kind: detect.ToolEntity, Name: own.Tool}},
			reason:   fmt.Sprintf("the definition of %s at %s has changed under its name", own.Tool, own.Entity),
			observed: fmt.Sprintf("definition %s, first met by %s at %s", own.Hash, own.Agent, own.Time),
			baseline: fmt.Sprintf("%s since %s, as %s met it; %.1f changes of this server expected in 1,000 agent-days, %.0f seen",
				last.Hash, last.Time, last.Agent, 1000*rate, g.exposure(own)),
		}))
	}
	return found
}

// offer finds a tool that another server begins to offer to those who have had
// it from its own for a day: shadowing. Two servers that offered it from the
// beginning are no surprise, nor is a server that other roles use.
func (e *Engine) offer(f *detect.Fact, g *group) []detect.Finding {
	t := e.thing(f)
	u := g.unit(f.Entity)
	var found []detect.Finding
	for _, x := range e.meet(&t.forms, byServer, f) {
		own := x.fact()
		var had *detect.Fact
		for _, b := range before(t.forms, x) {
			if own.Time.Sub(b.since()) >= known && b.familiar(own) {
				had = b.fact()
			}
		}
		if had == nil {
			continue
		}
		x.judged = true
		if own.Deployed {
			continue
		}
		t.decided = false // each change is one of its own
		rate, ok := e.surprise(detect.ToolDefinitionDetector, g, u, t, own, own.Known)
		if !ok {
			continue
		}
		found = append(found, e.finding(claim{
			normal: "a deployment of the agent (config.change), or servers that both offered the tool from the beginning",
			thing:  t, unit: f.Entity, detector: detect.ToolDefinitionDetector, threat: detect.ToolPoisoning, severity: detect.High,
			asi: []string{"ASI02", "ASI04"}, atlas: []string{"AML.T0110"},
			about: []string{own.Entity, own.Server}, on: own, rate: rate, evidence: []*detect.Fact{had},
			entities: []detect.Entity{{Kind: detect.ToolEntity, Name: own.Entity}},
			reason:   fmt.Sprintf("%s, which %s has from %s, came to it from %s", own.Entity, own.Agent, had.Server, own.Server),
			observed: fmt.Sprintf("%s offers %s, first met by %s at %s", own.Server, own.Entity, own.Agent, own.Time),
			baseline: fmt.Sprintf("from %s since %s; %.1f such changes of this tool expected in 1,000 agent-days, %.0f seen",
				had.Server, had.Time, 1000*rate, g.exposure(own)),
		}))
	}
	return found
}
