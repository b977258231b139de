package detect

import (
	"math"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Anchors hold an agent's days against its first ones, which never change by
// themselves: what moves a little every day carries along a baseline that adapts,
// and is only seen from a fixed point.
//
// A day is summed up by the mean of each statistic over it. The between-day spread
// of the first fortnight stands for everything that makes days differ: sessions,
// moods, weekdays. A day with few values waits for the next one to join it.
type Anchors struct {
	day   uint16          // since 1970, that is being summed up
	days  [anchored]uint8 // of the anchor
	moved uint8           // statistics reported and not gone back, a bit each
	of    [anchored]anchor
}

// The statistics that are anchored.
const (
	size     = iota // of what the model writes: log2(1 + output tokens), or bytes where these are not told
	gravity         // whether a use of a privilege is of high impact
	anchored        // how many there are
)

type anchor struct {
	mean     float32 // of the days of the anchor
	spread   float32 // their sum of squares about it
	up, down float32 // CUSUMs since
	sum      float32 // of the day so far
	n        uint16  // values in it
	typical  uint16  // values in a day of the anchor
}

const (
	anchorDays = 14
	dayLeast   = 32   // values that make a day
	deadBand   = 0.75 // day-to-day standard deviations that a mean may stay away for ever
	clip       = 8    // and how far one day counts
	step       = 2    // standard deviations that the CUSUMs look for
	farAway    = 20   // where the CUSUMs end, so that going back is seen in time
)

// weigh returns what ev adds to the statistics.
func weigh(ev *event.Event) (values [anchored]float32, has [anchored]bool) {
	if ev.Privilege != "" {
		has[gravity] = true
		if impactful(ev) {
			values[gravity] = 1
		}
	}
	if ev.Name == event.ModelCall {
		v, told := float64(ev.OutputTokens.V), ev.OutputTokens.OK
		if !told {
			v, told = float64(ev.Bytes.V), ev.Bytes.OK
		}
		values[size], has[size] = float32(math.Log2(1+math.Max(v, 0))), told
	}
	return values, has
}

// closes reports whether an event at a time is the first of a new day.
func (a *Anchors) closes(at event.Timestamp) bool { return a.day != 0 && dayOf(at) > a.day }

// dayOf is the day of a time, since 1970.
func dayOf(t event.Timestamp) uint16 { return uint16(max(hourOf(t)/24, 1)) }

// learn takes in an event, suspect or not, after closing the day before it. A new
// deployment is a reason to behave otherwise: the days from then on are the anchor.
func (a *Anchors) learn(ev *event.Event) {
	if ev.Name == event.ConfigChange {
		a.restart()
	}
	if a.closes(ev.Time) {
		for i := range a.of {
			a.close(i)
		}
	}
	a.day = max(a.day, dayOf(ev.Time))
	values, has := weigh(ev)
	for i := range a.of {
		if s := &a.of[i]; has[i] && s.n < math.MaxUint16 {
			s.sum += values[i]
			s.n++
		}
	}
}

// close takes in the day of one statistic, if it is one.
func (a *Anchors) close(i int) {
	s := &a.of[i]
	if !s.full(a.days[i]) {
		return
	}
	if a.days[i] < anchorDays {
		a.days[i]++
		y := float64(s.sum) / float64(s.n)
		d := y - float64(s.mean)
		s.mean += float32(d / float64(a.days[i]))
		s.spread += float32(math.Max(d*(y-float64(s.mean)), 0))
		s.typical += uint16((int(s.n) - int(s.typical)) / int(a.days[i]))
	} else {
		s.up, s.down = s.next(i)
		if s.up == 0 && s.down == 0 {
			a.moved &^= 1 << i
		}
	}
	s.sum, s.n = 0, 0
}

// full reports whether there are values enough to make a day, half as many as usual.
func (s *anchor) full(days uint8) bool {
	return s.n >= dayLeast && (days < anchorDays || s.n >= s.typical/2)
}

// next returns the CUSUMs as this day leaves them. Each is the logarithm of an
// e-detector (Shin, Ramdas & Rinaldo 2022) for a mean that has moved by two of the
// standard deviations in which days differ, beyond a dead band d,
//
//	S = max(S, 0) + 2 (±z - d) - 2
//
// While the days stay what they were it passes s less than once in exp(s) days.
// The dead band pays for the mean of the anchor being known inexactly, which would
// add up else. Dead band and inflation were set by simulation: see TestSlowDrift.
func (s *anchor) next(i int) (up, down float32) {
	n := float64(s.n)
	mean := float64(s.mean)
	sd := math.Sqrt(float64(s.spread)/float64(anchorDays-1)) * inflation
	switch i {
	case gravity: // at least what a share varies of itself
		sd = math.Max(sd, math.Sqrt((mean+1/n)*(1-math.Min(mean, 1)+1/n)/n))
	default:
		sd = math.Max(sd, minSpread)
	}
	z := math.Max(-clip, math.Min((float64(s.sum)/n-mean)/sd, clip))
	sum := func(was float32, z float64) float32 {
		return float32(math.Max(0, math.Min(float64(was)+float64(step*(z-deadBand))-step*step/2, farAway)))
	}
	return sum(s.up, z), sum(s.down, -z)
}

const (
	inflation = 1.1  // of a spread that fourteen days estimate
	minSpread = 0.05 // of a size in log2, 3.5 %
)

// test asks whether a day that closes moves a statistic that was not reported
// yet, and which: the p-value of the larger, by Bonferroni over both directions of all.
func (a *Anchors) test(at event.Timestamp) (p float64, which int) {
	p = 1
	if !a.closes(at) {
		return 1, 0
	}
	for i := range a.of {
		s := &a.of[i]
		if !a.asks(i) {
			continue
		}
		up, down := s.next(i)
		if q := math.Min(1, 2*anchored*math.Exp(-float64(max(up, down)))); q < p {
			p, which = q, i
		}
	}
	return p, which
}

// asks reports whether a statistic that was not reported yet has an anchor, and today enough to be held against it.
func (a *Anchors) asks(i int) bool {
	return a.days[i] >= anchorDays && a.of[i].full(a.days[i]) && a.moved>>i&1 == 0
}

// due reports whether a day closes that moves a statistic.
func (a *Anchors) due(at event.Timestamp) bool {
	return a.closes(at) && (a.asks(0) || a.asks(1))
}

// report notes that what test found is reported.
func (a *Anchors) report(at event.Timestamp) {
	_, i := a.test(at)
	a.moved |= 1 << i
}

// restart makes the days to come the anchor.
func (a *Anchors) restart() { *a = Anchors{} }
