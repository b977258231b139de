package detect

import (
	"math"
	"slices"
)

// A tail says how likely a clean session has more evidence than x: the share of
// those that had, and beyond the strongest few of them the prediction from an
// exponential whose mean is known from these few alone, (1 + excess/(k mean))^-k.
type tail struct {
	sorted []float64
	edge   float64 // from where the prediction stands in
	share  float64 // of sessions beyond the edge
	excess float64 // mean over the edge
	k      float64 // sessions that it is the mean of
}

const (
	tailLeast = 10 // sessions to fit a tail to, and a twentieth of all if that is more
	tailPart  = 20
)

// tailOf returns the tail of what clean sessions had; ok is false for fewer than
// three times tailLeast, which say nothing of a tail.
func tailOf(evidence []float64) (t tail, ok bool) {
	n := len(evidence)
	if n < 3*tailLeast {
		return t, false
	}
	t.sorted = slices.Sorted(slices.Values(evidence))
	k := max(tailLeast, n/tailPart)
	t.edge, t.share, t.k = t.sorted[n-1-k], float64(k)/float64(n), float64(k)
	for _, x := range t.sorted[n-k:] {
		t.excess += float64(x-t.edge) / float64(k)
	}
	return t, true
}

// beyond is the chance of more evidence than x.
func (t tail) beyond(x float64) float64 {
	if x <= t.edge {
		return above(t.sorted, x)
	}
	if t.excess <= 0 {
		return 0
	}
	return t.share * math.Pow(1+(x-t.edge)/(t.excess*t.k), -t.k)
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
// much as that of all groups together: the tail of a few sessions is its luckiest one.
const parentSessions = 500

// bar is the least evidence that a clean session of a group exceeds at most with
// chance p: its own sessions, backed off to those of all groups.
func (t tail) bar(own []float64, p float64) float64 {
	own = slices.Sorted(slices.Values(own))
	n := float64(len(own))
	exceeds := func(x float64) bool {
		share := float64(parentSessions * t.beyond(x))
		if n > 0 {
			share += float64(n * above(own, x))
		}
		return share/(n+parentSessions) > p
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
