package detect

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// A tail says how likely a clean session has more evidence than x: the share of
// those that had, and beyond the strongest few of them a generalised Pareto
// distribution fitted to the moments of these few (Hosking & Wallis 1987),
//
//	share (1 + shape excess / scale)^(-1/shape)
//
// of shape (1 - mean^2/variance)/2 where that is above 0: tails of evidence are
// heavier than exponential, and one that is taken for lighter makes false findings.
// That the mean is known from k sessions alone makes the shape 1/k more, which is
// the prediction of a new session where the shape is 0.
type tail struct {
	sorted []float64
	edge   float64 // from where the prediction stands in
	share  float64 // of sessions beyond the edge
	scale  float64
	shape  float64
}

const (
	tailLeast = 10  // sessions that a tail is fitted to; otherwise the root of how many there are, so that with more it begins further out
	mostShape = 0.4 // beyond which moments tell nothing
)

// tailOf returns the tail of what clean sessions had; ok is false for fewer than
// three times tailLeast, which say nothing of a tail.
func tailOf(evidence []float64) (t tail, ok bool) {
	n := len(evidence)
	if n < 3*tailLeast {
		return t, false
	}
	t.sorted = slices.Sorted(slices.Values(evidence))
	k := max(tailLeast, int(math.Sqrt(float64(n))))
	t.edge, t.share = t.sorted[n-1-k], float64(k)/float64(n)
	mean, variance := stat.MeanVariance(t.sorted[n-k:], nil)
	if mean -= t.edge; variance > 0 {
		t.shape = min(max((1-float64(mean*mean)/variance)/2-1/math.Sqrt(float64(k)), 0), mostShape)
	}
	t.scale = mean * (1 - t.shape)
	t.shape += 1 / float64(k)
	return t, true
}

// beyond is the chance of more evidence than x.
func (t tail) beyond(x float64) float64 {
	if x <= t.edge {
		return above(t.sorted, x)
	}
	if t.scale <= 0 {
		return 0
	}
	return t.share * math.Pow(1+t.shape*(x-t.edge)/t.scale, -1/t.shape)
}

// above is the share of sorted values above x.
func above(sorted []float64, x float64) float64 {
	at, _ := slices.BinarySearchFunc(sorted, x, func(v, x float64) int {
		if v <= x {
			return -1
		}
		return 1
	})
	return float64(len(sorted)-at) / float64(len(sorted))
}

// parentSessions is how many of its own sessions a group's tail needs to weigh as
// much as that of all groups together: few sessions tell little of a tail.
const parentSessions = 500

// bar is the least evidence that a clean session of a group exceeds at most with
// chance p: by the tail of its own sessions, backed off to that of all groups.
func (t tail) bar(own []float64, p float64) float64 {
	mine, n := t, 0.0
	if of, ok := tailOf(own); ok {
		mine, n = of, float64(len(own))
	}
	exceeds := func(x float64) bool {
		return (float64(parentSessions*t.beyond(x))+float64(n*mine.beyond(x)))/(n+parentSessions) > p
	}
	low, high := 0.0, 1.0
	for exceeds(high) && high < 1e6 {
		high *= 2
	}
	for range 60 {
		if mid := (low + high) / 2; exceeds(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}
