package detect

import "math"

// excesses say how far the values of an agent go beyond what its model of them
// supposes: the mean excess over a threshold, and what shapes of a tail these
// excesses are likely under. The zero value is what is supposed of a new agent.
//
// Excesses over a high threshold have a generalised Pareto distribution (Pickands
// 1975), of which the shape decides what is far out: at 0 it is exponential, at
// 1/3 that of Student's distribution with three degrees of freedom, at 2/3 one
// without a variance. No hundred values tell a shape. So a chance is the mean over
// the shapes, each weighted by its prior and the likelihood of the excesses seen.
type excesses struct {
	excess uint16            // their mean, in 1/4096 standard deviations; 0: none was seen
	under  uint16            // share of values within the threshold, beyond what is expected, in 1/65536 of inTail
	likely [shapes - 1]int16 // log likelihood of each shape over that of the first, in 1/1024 nat
}

const (
	shapes = 3
	tailAt = 1.28 // standard deviations from which on a value is in excess,
	inTail = 0.1  // and what lies beyond, at most: more than of any distribution with heavier tails

	newExcess     = 0.6  // of an agent that has shown none
	excessUnit    = 4096 // of an excess in one standard deviation
	mostExcess    = 6    // means that one excess counts for in the mean
	excessesLeast = 4    // excesses that newExcess stands for
	excessesMost  = 64   // that are remembered
	sharesMost    = 500  // values of which the share beyond the threshold is remembered,
	shareLeast    = 20   // and for how many inTail stands
	likelyUnit    = 1024 // of a log likelihood in one nat
	likelyMost    = 128  // excesses that it remembers
)

// A tailShape is one shape, how far it is believed before any value is known, and the
// least mean of its excesses: what is heavy far out is never light near by. Student's
// distribution with three degrees of freedom has 0.88.
type tailShape struct{ shape, prior, least float64 }

func tailShapes() [shapes]tailShape {
	return [shapes]tailShape{{0, .75, 0}, {1.0 / 3, .23, .75}, {2.0 / 3, .02, 1}}
}

// beyond is the chance that an excess is larger than x, where the mean of those seen is this.
func (s tailShape) beyond(x, mean float64) float64 {
	mean = math.Max(mean, s.least)
	if s.shape == 0 {
		return math.Exp(-x / mean)
	}
	return math.Pow(1+s.shape*x/(mean*(1-s.shape)), -1/s.shape)
}

// density is the logarithm of the density of an excess x.
func (s tailShape) density(x, mean float64) float64 {
	mean = math.Max(mean, s.least)
	if s.shape == 0 {
		return -x/mean - math.Log(mean)
	}
	scale := mean * (1 - s.shape)
	return -math.Log(scale) - float64((1/s.shape+1)*math.Log1p(s.shape*x/scale))
}

// inTails is about how many of n values lie in the tail, within what is remembered.
func inTails(n uint16) float64 {
	return math.Max(excessesLeast, math.Min(inTail*float64(n)+excessesLeast, excessesMost))
}

func (h excesses) mean() float64 {
	if h.excess == 0 {
		return newExcess
	}
	return float64(h.excess) / excessUnit
}

// share is that of the values which lie beyond the threshold.
func (h excesses) share() float64 { return inTail * (1 - float64(h.under)/(1<<16)) }

// weight is how far the i-th shape is to be believed, but for a common factor.
func (h excesses) weight(i int, s tailShape) float64 {
	if i == 0 {
		return s.prior
	}
	return s.prior * math.Exp(float64(h.likely[i-1])/likelyUnit)
}

// chance is the tail of a value that lies z standard deviations above the middle of n
// values and whose chance is p by their model.
func (h excesses) chance(p, z float64, n uint16) float64 {
	if z <= tailAt {
		return p
	}
	mean := h.mean() * (1 + 1/math.Sqrt(inTails(n)))
	sum, all := 0.0, 0.0
	for i, s := range tailShapes() {
		w := h.weight(i, s)
		sum += float64(w * s.beyond(z-tailAt, mean))
		all += w
	}
	return math.Max(p, h.share()*sum/all)
}

// learn takes in a value at z standard deviations, of n values; weight is one, or less for a
// value that may not be the agent's own.
func (h *excesses) learn(z float64, n uint16, weight float64) {
	x := z - tailAt
	beyond := 0.0
	if x > 0 {
		beyond = weight
	}
	share := h.share()
	share += (beyond - share) / math.Min(float64(n)+shareLeast, sharesMost)
	h.under = uint16(math.Max(0, math.Min(math.Round((1-share/inTail)*(1<<16)), 1<<16-1)))
	if x <= 0 {
		return
	}
	was, shapes := h.mean(), tailShapes()
	first := shapes[0].density(x, was)
	for i, s := range shapes[1:] {
		l := float64(float64(h.likely[i])*(1-1.0/likelyMost)) + float64(weight*(s.density(x, was)-first)*likelyUnit)
		h.likely[i] = int16(math.Round(math.Max(math.MinInt16, math.Min(l, math.MaxInt16))))
	}
	h.excess = uint16(math.Round((was + float64(weight*(math.Min(x, mostExcess*was)-was))/inTails(n)) * excessUnit))
}

func (h *excesses) code(c *coder) {
	c.u16(&h.excess)
	c.u16(&h.under)
	for i := range h.likely {
		u := uint16(h.likely[i])
		c.u16(&u)
		h.likely[i] = int16(u)
	}
}
