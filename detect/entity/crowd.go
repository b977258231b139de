package entity

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A crowd is who meets a thing.
type crowd struct {
	visits []visit // the latest
	widest int     // agents that met it within a day, at most
	spoken bool    // of it

	week   event.Timestamp // since 1970
	weekly []uint32        // agents that met it in the week
}

// A visit is an agent that met a thing.
type visit struct {
	agent uint32
	at    event.Timestamp
}

const (
	maxCrowd = 32 // agents that are told apart
	minCrowd = 4  // agents: fewer are no crowd
	enough   = 20 // things of a kind, before one of them can stand out

	// maxWeekly is how many agents are told apart in a week: with more than that, one
	// day of it had the largest crowd there is.
	maxWeekly = 7 * maxCrowd
	week      = event.Timestamp(7 * 24 * time.Hour)
)

// A gathering is what it means that many agents meet one thing of a kind.
type gathering struct {
	threat string
	asi    []string
	atlas  []string
	entity detect.EntityKind
	what   string
	met    string
}

func gatherings(k detect.FactKind) gathering {
	switch k {
	case detect.DestinationFact:
		return gathering{detect.DataExfiltration, []string{"ASI02"}, []string{"AML.T0086"}, detect.DestinationEntity, "destination", "sent to"}
	case detect.PrincipalFact:
		return gathering{detect.ConfusedDeputy, []string{"ASI03"}, []string{"AML.T0053"}, detect.PrincipalEntity, "principal", "served"}
	}
	return gathering{detect.MemoryPoisoning, []string{"ASI06"}, []string{"AML.T0070"}, detect.MemoryEntity, "memory record", "read"}
}

// gather finds a thing that suddenly many agents meet, as hardly any of its like
// is: a memory record that all read, a destination that all send to, a principal that all
// serve. The number of agents within a day has its p-value by its rank among
// the records of the store, or the destinations or principals of the tenant;
// beyond all of them the tail is exponential. Agents that were just deployed do not count.
// It says nothing where fewer than twenty of the like are known, and of three agents or less.
func (e *Engine) gather(f *detect.Fact, g *group) []detect.Finding {
	t := e.thing(f)
	if t.crowd == nil {
		t.crowd = &crowd{}
	}
	c := t.crowd
	j, on := e.joint[detect.CrowdDetector]
	u := g.unit(f.Store)
	if u == nil || !on || !c.meetsFirst(f) || f.Deployed {
		return nil
	}
	c.visit(f)
	if n := c.gathered(); n > c.widest {
		if c.widest == 0 {
			u.things++
		} else {
			u.crowds[c.widest]--
		}
		u.crowds[n]++
		c.widest = n
	}
	exposure := g.exposure(f)
	if c.spoken || !f.Known || c.widest < minCrowd || u.things <= enough || exposure == 0 {
		return nil
	}
	p, usual := u.rank(c.widest)
	// Each thing is a test: so many of them, of three kinds, are made in an agent-day.
	const kinds = 3
	rate := p * float64(u.things) * float64(len(g.units)) / exposure * u.doubted(detect.CrowdDetector, f.Time)
	if rate > j.share/kinds {
		return nil
	}
	c.spoken = true
	k, name := gatherings(f.Kind), f.Entity
	if f.Kind == detect.RecordFact {
		name = f.Store + "/" + f.Record
	}
	return []detect.Finding{e.finding(claim{
		normal: "things of this kind that many agents meet, or a deployment of those who do",
		thing:  t, unit: f.Store, detector: detect.CrowdDetector, threat: k.threat, severity: detect.Medium, asi: k.asi, atlas: k.atlas,
		about: []string{string(f.Kind), f.Entity}, on: f, rate: rate,
		entities: []detect.Entity{{Kind: k.entity, Name: name}},
		reason:   fmt.Sprintf("%s %s is suddenly %s by many agents", k.what, name, k.met),
		observed: fmt.Sprintf("%d agents within a day, the last of them %s", c.widest, f.Agent),
		baseline: fmt.Sprintf("of %d others of its kind the most %s had %d agents within a day", u.things-1, k.met, usual),
	})}
}

// meetsFirst reports whether an agent meets the thing for the first time in a week.
// An agent tells that once, but again after the process that watches it was
// restarted: a restart gathers nobody.
func (c *crowd) meetsFirst(f *detect.Fact) bool {
	now, who := f.Place()/week, person("agent", f.Agent)
	if now > c.week {
		c.week, c.weekly = now, c.weekly[:0]
	}
	if now < c.week || len(c.weekly) >= maxWeekly || slices.Contains(c.weekly, who) {
		return false
	}
	c.weekly = append(c.weekly, who)
	return true
}

// visit notes that an agent met the thing.
func (c *crowd) visit(f *detect.Fact) {
	c.visits = append(c.visits, visit{person("agent", f.Agent), f.Time})
	slices.SortFunc(c.visits, func(a, b visit) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.agent, b.agent)) })
	c.visits = slices.Compact(c.visits)
	if len(c.visits) > maxCrowd {
		c.visits = slices.Delete(c.visits, 0, 1)
	}
}

// gathered is the largest number of agents that met the thing within a day.
func (c *crowd) gathered() int {
	most := 0
	for i, last := range c.visits {
		var who []uint32
		for _, v := range c.visits[:i+1] {
			if last.at.Sub(v.at) <= 24*time.Hour && !slices.Contains(who, v.agent) {
				who = append(who, v.agent)
			}
		}
		most = max(most, len(who))
	}
	return most
}

// rank is the p-value of a thing that n agents met within a day, among the
// others of its kind, and the most that met one of those.
func (u *unit) rank(n int) (p float64, usual int) {
	others, as, excess := -1, -1, 0 // not counting the thing itself
	for k, things := range u.crowds {
		if k == n {
			excess -= k - 1
			usual = max(usual, min(k, k*(things-1)))
		} else if things > 0 {
			usual = max(usual, k)
		}
		others += things
		excess += things * max(k-1, 0)
		if k >= n {
			as += things
		}
	}
	p = float64(as+1) / float64(others+1)
	if n <= usual {
		return p, usual
	}
	// Beyond the largest: its own rank, and exponentially less from there, with the
	// mean that they have, the one that the largest of them asks for, or one agent:
	// things that one agent each met say nothing of how fast more become unlikely.
	mean := max(float64(excess+1)/float64(others+1), float64(usual)/math.Log(float64(others+1)), 1)
	return 1 / float64(others+1) * math.Exp(-float64(n-usual)/mean), usual
}
