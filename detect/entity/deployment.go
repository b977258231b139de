package entity

import (
	"fmt"
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A crew is the agents of a role.
type crew struct {
	members []member
	alone   []form // deployments that nobody has followed
}

// A member of a role's crew is an agent and what it ran last.
type member struct {
	agent uint32
	runs  uint32
	at    event.Timestamp
}

const (
	maxCrew  = 64                 // agents of a role that are followed
	quietFor = 7 * 24 * time.Hour // after which one makes room for another
	fewStay  = 3                  // agents who have not followed, below which nobody is alone
	followIn = 48 * time.Hour     // that the others have to follow
)

// deployment finds a build or a model that one agent brings by a change of configuration, and
// that nobody else of its role runs two days later, though three or more of them are at
// work: whoever can write a change of configuration into the log of one agent explains
// nothing by it if all its peers go on as before. A roll-out is followed, and a
// tenant in which such deployments are usual, as where new builds are tried on one
// agent for days, is known for it. It says nothing of small roles, of what comes without being
// announced (supply_chain does), and of whoever announces the same to two agents.
func (e *Engine) deployment(f *detect.Fact, g *group) []detect.Finding {
	t := e.thing(f)
	if t.crew == nil {
		t.crew = &crew{}
	}
	c := t.crew
	c.alone = e.forget(c.alone, func(alone *detect.Fact) bool { return alone.Runs == f.Runs && alone.Agent != f.Agent })
	if f.Deployed && c.first(f) {
		if len(c.alone) >= maxForms {
			e.pages.Drop(c.alone[0].first)
			c.alone = slices.Delete(c.alone, 0, 1)
		}
		c.alone = append(c.alone, form{first: e.pages.Keep(f, nil)})
	}
	c.serve(f)
	var found []detect.Finding
	for i := range c.alone {
		x := &c.alone[i]
		stay := c.staying(x)
		if x.judged || stay < fewStay {
			continue
		}
		x.judged = true
		own := x.fact()
		rate, ok := e.surprise(detect.LoneDeploymentDetector, g, &g.whole, &thing{}, own, own.Known) // each deployment is one of its own
		if !ok {
			continue
		}
		found = append(found, e.finding(claim{
			normal: "another agent of the role that follows within two days, or a tenant in which deployments to one agent are usual",
			thing:  t, unit: wholeUnit, detector: detect.LoneDeploymentDetector, threat: detect.Supply, severity: detect.Medium,
			asi: []string{"ASI04"}, atlas: []string{"AML.T0010"},
			about: []string{own.Entity, own.Agent, own.Runs}, on: own, rate: rate,
			reason:   fmt.Sprintf("a change of configuration brought %s to %s, and to no other agent of its role", own.Runs, own.Agent),
			observed: fmt.Sprintf("%s at %s, announced; two days later %d others at work as %s run something else, and none runs it", own.Runs, own.Time, stay, own.Entity),
			baseline: fmt.Sprintf("of this tenant: %.1f such deployments expected in 1,000 agent-days, %.0f seen", 1000*rate, g.exposure(own)),
		}))
	}
	return found
}

// first reports whether the agent is the only one of the role that is known to run what f says,
// and ran something else before. What is told again is no news.
func (c *crew) first(f *detect.Fact) bool {
	who, what, before := person("agent", f.Agent), person("runs", f.Runs), false
	for _, m := range c.members {
		if m.runs == what {
			return false
		}
		before = before || m.agent == who && m.at < f.Time
	}
	return before
}

// serve notes what an agent of the role runs. Of more than are followed it is always the same
// ones, by their fingerprints, until they fall silent: whoever is followed is known for what he ran.
func (c *crew) serve(f *detect.Fact) {
	m := member{person("agent", f.Agent), person("runs", f.Runs), f.Time}
	i := slices.IndexFunc(c.members, func(have member) bool { return have.agent == m.agent })
	switch {
	case i >= 0 && c.members[i].at > m.at:
		return
	case i >= 0:
		c.members = slices.Delete(c.members, i, i+1)
	case len(c.members) >= maxCrew:
		last := 0
		for j, have := range c.members {
			if have.rank(m.at) > c.members[last].rank(m.at) {
				last = j
			}
		}
		if c.members[last].rank(m.at) <= m.rank(m.at) {
			return
		}
		c.members = slices.Delete(c.members, last, last+1)
	}
	c.members = append(c.members, m)
}

// rank is the place of m among those who are followed at a time: who is silent comes last.
func (m member) rank(at event.Timestamp) uint64 {
	if at.Sub(m.at) > quietFor {
		return 1<<32 + uint64(m.agent)
	}
	return uint64(m.agent)
}

// staying is how many others were at work with something else when they should have followed.
func (c *crew) staying(x *form) (n int) {
	own := x.fact()
	who, what := person("agent", own.Agent), person("runs", own.Runs)
	for _, m := range c.members {
		if m.agent != who && m.runs != what && m.at.Sub(own.Time) >= followIn {
			n++
		}
	}
	return n
}
