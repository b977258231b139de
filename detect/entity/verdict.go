package entity

import (
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A doubt is what verdicts on a detector's findings about one unit came to: how many were
// false, up to three, and when that changed last. One is forgotten every four weeks, as
// long as facts are kept: who reads them again decides the same.
//
// For as long the unit is expected to surprise 1+n times as often, with a Gamma(1, 1) prior on
// the factor by which its rate was wrong. So a person who calls everything false, or is made
// to, takes away what was within a factor of four of not being told, of this unit alone.
type doubt struct {
	detector string
	count    int
	since    event.Timestamp
}

const (
	mostFalse = 3
	doubtFor  = 28 * 24 * time.Hour // until one is forgotten
)

// wholeUnit names the tenant itself among its units.
const wholeUnit = "\x00"

// judged takes in a person's verdict.
func (e *Engine) judged(f *detect.Fact) {
	v, ok := f.VerdictOf()
	u := e.groups[f.Group()].named(f)
	if !ok || u == nil {
		return
	}
	i := slices.IndexFunc(u.doubts, func(d doubt) bool { return d.detector == f.Tool })
	if i < 0 {
		i = len(u.doubts)
		u.doubts = append(u.doubts, doubt{detector: strings.Clone(f.Tool)})
	}
	d, n := &u.doubts[i], u.doubts[i].left(f.Time)
	whole, surprises := &e.groups[f.Group()].whole, f.Tool != detect.CrowdDetector // a crowd is none
	switch {
	case v.False && v.Withdrawn:
		n--
	case v.False:
		n++
	case v.Withdrawn:
		if surprises {
			u.reported++
			u.surprises += u.weight(whole)
		}
		return
	default: // the detector was right, and what it reported was not the way of the unit
		n = 0
		if surprises {
			u.surprises = max(u.surprises-u.weight(whole), 0)
			u.reported = max(u.reported-1, 0) // the earlier ones have faded
		}
	}
	d.count, d.since = min(max(n, 0), mostFalse), max(d.since, f.Time)
}

// named returns the unit that a verdict is about; nil where it is not known.
func (g *group) named(f *detect.Fact) *unit {
	switch {
	case g == nil:
		return nil
	case f.Entity == detect.Unit(f.Kind, f.Tool, wholeUnit):
		return &g.whole
	}
	for name, u := range g.units {
		if f.Entity == detect.Unit(f.Kind, f.Tool, name) {
			return u
		}
	}
	return nil
}

// left is how many are not forgotten at a time.
func (d doubt) left(at event.Timestamp) int {
	return max(d.count-int(max(at.Sub(d.since), 0)/doubtFor), 0)
}

// doubted is how many times as often as it is known to the unit is expected to surprise a detector.
func (u *unit) doubted(detector string, at event.Timestamp) float64 {
	for _, d := range u.doubts {
		if d.detector == detector {
			return float64(1 + d.left(at))
		}
	}
	return 1
}
