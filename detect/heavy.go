package detect

import "math"

// heaviness says how far the values of an agent go beyond what its model of them
// supposes: the mean, over values with a tail p below a tenth, of the decades of p
// below it. It is 1/ln 10 = 0.43 where the model is right, and more where large
// values are more usual than it says: with a heavy tail, or with large values of
// another kind now and then. Zero stands for what is supposed of a new agent.
type heaviness uint16

const (
	decade       = 4096 // units of a heaviness in one
	tailFrom     = 0.1  // where tails begin
	newHeaviness = 0.5  // of a new agent
	mostDecades  = 15   // that one value counts for
	tailsLeast   = 4    // values in the tail that newHeaviness stands for
	tailsMost    = 64   // values in the tail that are remembered
)

// tails is about how many of n values lie in the tail, within what is remembered.
func tails(n uint16) float64 {
	return math.Max(tailsLeast, math.Min(tailFrom*float64(n)+tailsLeast, tailsMost))
}

func (h heaviness) mean() float64 {
	if h == 0 {
		return newHeaviness
	}
	return float64(h) / decade
}

// chance is a tail as this agent has it: exponential in the decades of the model's
// tail, which is a Pareto tail in 1/p, with the mean found in n values and what it may be wrong by.
func (h heaviness) chance(p float64, n uint16) float64 {
	if p >= tailFrom {
		return p
	}
	mean := h.mean() * (1 + 1/math.Sqrt(tails(n)))
	return math.Max(p, tailFrom*math.Exp(-decades(p)/mean))
}

// decades is how far p lies in the tail.
func decades(p float64) float64 { return math.Log10(tailFrom / math.Max(p, 1e-300)) }

// learn takes in a value with a tail, of n values; weight is one, or less for a
// value that may not be the agent's own.
func (h *heaviness) learn(p float64, n uint16, weight float64) {
	if p >= tailFrom {
		return
	}
	was := h.mean()
	*h = heaviness(math.Round((was + float64(weight*(math.Min(decades(p), mostDecades)-was))/tails(n)) * decade))
}
