package entity

import (
	"math"
	"math/bits"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A group is what is known of all things of a kind in a tenant: for how many
// agent-days they have been watched, and how often they surprise.
//
// Surprises are taken for Poisson processes, one for each unit that has habits
// (an issuer of credentials, a server, a tool, a store), whose rate per agent-day has
// a Gamma prior. A unit is on watch only while its expected rate is at most its
// part of the detector's share of the budget; each unit has the same part. So the expected
// false findings of all units together stay within the share, as far as the
// rates are right, and a unit that surprises often silences itself alone.
type group struct {
	agents [sketchWords]uint64 // a linear counting sketch
	first  event.Timestamp
	units  map[string]*unit
	whole  unit // the tenant itself, of what units have too little of each
}

// A unit has habits of its own.
type unit struct {
	surprises float64
	reported  float64 // of them, before they were weighed
	last      event.Timestamp
	crowds    [maxCrowd + 1]int // things, by the agents that met them within a day
	things    int
	doubts    []doubt // by detector
}

const (
	sketchWords = 64
	maxUnits    = 10_000 // in a group; habits of more are not followed
)

// memory is how long surprises are remembered, in days: after this time a third is left.
const memory = 130

func (e *Engine) group(f *detect.Fact) *group {
	e.buf = f.AppendGroup(e.buf[:0])
	g := e.groups[string(e.buf)]
	if g == nil {
		g = &group{first: f.Time, units: map[string]*unit{}}
		e.groups[string(e.buf)] = g
	}
	return g
}

// see notes that an agent of the group was there.
func (g *group) see(f *detect.Fact) {
	h := xxhash.Sum64String(f.Agent)
	g.agents[h/64%sketchWords] |= 1 << (h % 64)
	g.first = min(g.first, f.Time)
}

// exposure is for how many agent-days the group was watched before f.
func (g *group) exposure(f *detect.Fact) float64 {
	set := 0
	for _, w := range g.agents {
		set += bits.OnesCount64(w)
	}
	const m = 64 * sketchWords
	agents := -m * math.Log(1-float64(min(set, m-1))/m)
	return agents * min(max(f.Time.Sub(g.first).Hours()/24, 0), memory)
}

// unit returns what is known of a unit, nil if it is one too many.
func (g *group) unit(name string) *unit {
	u := g.units[name]
	if u == nil && len(g.units) < maxUnits {
		u = &unit{}
		g.units[strings.Clone(name)] = u
	}
	return u
}

// benignOdds is how much the first surprise of a unit counts that was reported: the
// chance, as long as nobody has said what it was, that it was the way of the unit. The
// tenth one counts in full: who surprises so often has a habit. Would the first, one
// attack would hide the next; would the tenth not, the budget would not hold.
const benignOdds = 0.1

// commonOdds is the same for a tenant as a whole, where what is odd is so by several
// harmless things that come together now and then.
const commonOdds = 0.3

// rate is how many surprises of a unit are expected per agent-day, times the units
// there are: to be held against the share of all of them.
func (e *Engine) rate(j joint, g *group, u *unit, f *detect.Fact) float64 {
	units := len(g.units)
	if u == &g.whole {
		units = 1
	}
	return (float64(units)*u.surprises*u.left(f) + j.prior.A) / (g.exposure(f) + j.prior.B)
}

// left is how much is left of a unit's surprises at the time of f.
func (u *unit) left(f *detect.Fact) float64 {
	return math.Exp(-max(f.Time.Sub(u.last).Hours()/24, 0) / memory)
}

// surprise decides whether a surprise of a unit becomes a finding, and lets its
// habits learn it. What is decided of a thing stands for it: those who share one
// thing are reported or not together, in whatever order they come. What nobody
// is to be judged for yet is learned in full.
func (e *Engine) surprise(detector string, g *group, u *unit, t *thing, f *detect.Fact, judge bool) (rate float64, found bool) {
	j, on := e.joint[detector]
	if u == nil || !on {
		return 0, false
	}
	plain := e.rate(j, g, u, f)
	rate = plain * u.doubted(detector, f.Time)
	if judge && !t.decided {
		t.decided, t.watched = true, rate <= j.share
		t.doubted = !t.watched && plain <= j.share
	}
	found = judge && t.watched
	left, count := u.left(f), 1.0
	u.surprises, u.reported, u.last = u.surprises*left, u.reported*left, max(u.last, f.Time)
	if found || judge && t.doubted { // that it is not told for a verdict makes it no habit
		u.reported++
		count = u.weight(&g.whole)
	}
	u.surprises += count
	return rate, found
}

// weight is how much the last surprise counts that was reported.
func (u *unit) weight(whole *unit) float64 {
	odds := benignOdds
	if u == whole {
		odds = commonOdds
	}
	return min(odds*u.reported, 1)
}
