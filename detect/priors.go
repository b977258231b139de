package detect

import (
	"math"
	"math/bits"
	"time"
)

// What a census counts of surprises, and what is to be believed by it of an agent of
// the same group that is not known yet: an empirical Bayes prior.

// ages is into how many ages, in doublings of a day, a life is divided.
const ages = 8

// ageOf is the age of a profile, at least a day: in doublings, and in days.
func ageOf(p *Profile) (doublings int, days float64) {
	days = math.Max(p.last.Sub(p.first).Hours()/24, 1)
	return min(bits.Len(uint(days))-1, ages-1), days
}

// An exposure is time in which agents could surprise: in days, and in what the
// surprises of youth grow by, which is the sum of the days each divided by the age at it.
type exposure struct{ days, youth float64 }

// lives are what a census keeps of the agents of a group.
type lives struct {
	at        map[uint64]int // by agent
	agents    []life         // in the order in which they came
	surprises [maxDetectors][ages]float64
}

// A life is what a census keeps of one agent.
type life struct {
	exposed [ages]exposure
	odd     [maxDetectors]uint8  // surprises, by the slot of the detector
	counted [maxDetectors]uint32 // hour in which one was counted last
}

// mostSurprises is how many surprises of one agent count: one that is under attack is
// not to tell what its peers are like.
const mostSurprises = 3

// take lets time pass for the agent in view, and counts which detectors an event
// surprised, reported or not: each once in a day.
func (l *lives) take(v View, odd uint16, passed time.Duration) {
	if !v.Profile.mature() {
		return
	}
	id := hash(v.Event.Agent)
	i, known := l.at[id]
	if !known {
		if len(l.agents) >= maxItems {
			return
		}
		i = len(l.agents)
		l.at[id], l.agents = i, append(l.agents, life{})
	}
	a := &l.agents[i]
	age, days := ageOf(v.Profile)
	more := min(passed, longestPause).Hours() / 24
	a.exposed[age].days += more
	a.exposed[age].youth += more / days
	if odd == 0 {
		return
	}
	hour := hourOf(v.Event.Time)
	for slot := range a.odd {
		if odd>>slot&1 == 1 && a.odd[slot] < mostSurprises && (a.odd[slot] == 0 || hour >= a.counted[slot]+24) {
			a.odd[slot]++
			a.counted[slot] = hour
			l.surprises[slot][age]++
		}
	}
}

// moments are sums over the agents of groups, of one detector: all that a prior is
// fitted to.
type moments struct {
	exposed    [ages]exposure
	surprises  [ages]float64
	xx, xd, xy float64 // of each agent: its surprises squared, times its days, times its youth
	dd, dy, yy float64 // and its days squared, times its youth, its youth squared
}

// add adds the agents of a group.
func (m *moments) add(l *lives, slot int) {
	for i, n := range l.surprises[slot] {
		m.surprises[i] += n
	}
	for i := range l.agents {
		a := &l.agents[i]
		var d, y float64
		for j, e := range a.exposed {
			d, y = d+e.days, y+e.youth
			m.exposed[j].days += e.days
			m.exposed[j].youth += e.youth
		}
		x := float64(a.odd[slot])
		m.xx, m.xd, m.xy = m.xx+float64(x*x), m.xd+float64(x*d), m.xy+float64(x*y)
		m.dd, m.dy, m.yy = m.dd+float64(d*d), m.dy+float64(d*y), m.yy+float64(y*y)
	}
}

const (
	// What is believed of more agents weighs as much as so many surprises of a group:
	// of how often they come, and of how much agents differ.
	believed       = 2
	believedSpread = 20

	rounds    = 100 // of the expectation maximisation; it has converged by then
	leastA    = 0.01
	mostA     = 20
	mostPrior = 1e5 // days
)

// fit returns the prior of a group, by its moments, where parent is believed of all.
//
// Surprises are Poisson with the rate m + Y/age. Both parts have a Gamma prior around
// those of the parent, worth so many surprises that are believed, and are found by
// expectation maximisation: a surprise at an age comes of each part in proportion to
// what it makes expected then. The variance of the rate over agents follows from
//
//	sum (x - e)^2 = sum e + variance sum d^2
//
// with e = m d + Y y what is expected of an agent with exposure d in days and y in
// youth, and x its surprises; it is averaged with the parent's, and A = m^2/variance,
// B = A/m.
func (m *moments) fit(parent Prior) Prior {
	var seen, days, youth float64
	for i, e := range m.exposed {
		seen, days, youth = seen+m.surprises[i], days+e.days, youth+e.youth
	}
	mean, young := parent.A/parent.B, parent.Youth
	if days <= 0 {
		return parent
	}
	for range rounds {
		steady := 0.0
		for i, e := range m.exposed {
			if expected := float64(mean*e.days) + float64(young*e.youth); expected > 0 {
				steady += m.surprises[i] * mean * e.days / expected
			}
		}
		mean = (steady + believed) / (days + believed*parent.B/parent.A)
		if parent.Youth > 0 {
			young = (seen - steady + believed) / (youth + believed/parent.Youth)
		}
	}
	off := m.xx - 2*float64(mean*m.xd) - 2*float64(young*m.xy) + float64(mean*mean*m.dd) + 2*float64(mean*young*m.dy) + float64(young*young*m.yy)
	variance := math.Max(off-float64(mean*days)-float64(young*youth), 0) / m.dd
	variance = (float64(seen*variance) + believedSpread*mean*mean/parent.A) / (seen + believedSpread)
	a := min(max(mean*mean/variance, leastA), mostA, mostPrior*mean)
	return Prior{A: a, B: a / mean, Youth: young}
}

// priors fits the priors of a group that brings those together whose lives are given.
func priors(r Rules, parent map[string]Prior, of ...*lives) map[string]Prior {
	fitted := map[string]Prior{}
	for _, d := range r.Detectors {
		has, ok := d.Detector.(interface{ prior() Prior })
		if !ok {
			continue
		}
		about := d.About()
		believedOf, given := parent[about.Name]
		if !given {
			believedOf = has.prior()
		}
		var m moments
		for _, l := range of {
			m.add(l, about.Slot)
		}
		fitted[about.Name] = m.fit(believedOf)
	}
	return fitted
}
