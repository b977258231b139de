package detect

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Counts are what is known of how many calls an agent makes in a minute in which
// it makes any. An agent at rest tells nothing of how fast it works, so hours
// and weekdays need no model here.
//
// The calls beyond the first are taken for Poisson at a rate with a Gamma
// distribution: it is not known exactly, and it changes from one minute to the
// next. Both make the next count negative binomial with mean mu and size r,
//
//	1/r = 1/a + 1/kappa
//
// where a is how many calls the rate was learned from, and kappa = mu^2 / (var - mu)
// the size that the counts themselves show.
type counts struct {
	mean     float32 // of the calls beyond the first in a minute
	variance float32
	n        uint16 // minutes learned, up to countsRun
	now      uint16 // calls in this minute
}

const (
	countsRun    = 500 // minutes remembered
	countsLeast  = 16  // minutes below which nothing is said
	countsPrior  = 5   // minutes that the prior is worth
	priorCalls   = 4.0 // in a minute, beyond the first
	priorExcess  = 8.0 // of the variance over the mean: kappa is 2
	clippedCount = 3.3 // standard deviations beyond the mean, and 4 calls, that a minute counts for at most
)

// predictive returns mean and size of the next count beyond the first.
func (c *counts) predictive() (mu, r float64) {
	n := float64(c.n)
	mean := (float64(float64(c.mean)*n) + priorCalls*countsPrior) / (n + countsPrior)
	excess := (float64(math.Max(float64(c.variance)-float64(c.mean), 0)*n) + priorExcess*countsPrior) / (n + countsPrior)
	a := mean * (n + countsPrior)
	return mean, 1 / (1/a + excess/float64(mean*mean))
}

// tail is the chance of so many calls in a minute, or of more.
func (c *counts) tail(calls int) float64 {
	mu, r := c.predictive()
	return binomialTail(calls-1, mu, r)
}

// below reports whether so many calls in a minute have a chance of less than p.
// It cannot say so while few minutes are known. The bound spares the exact tail
// where it leaves no doubt.
func (c *counts) below(calls int, p float64) bool {
	if c.n < countsLeast {
		return false
	}
	mu, r := c.predictive()
	if binomialBound(calls-1, mu, r) > p*boundSlack {
		return false
	}
	return binomialTail(calls-1, mu, r) < p
}

// close takes in the minute that has passed. A count is clipped, so that a burst
// moves what is normal little; learned says whether it may do so at all.
func (c *counts) close(learned bool) {
	if c.now == 0 {
		return
	}
	x := float64(c.now - 1)
	c.now = 0
	if !learned {
		return
	}
	mu, r := c.predictive()
	x = math.Min(x, mu+clippedCount*math.Sqrt(mu+float64(mu*mu)/r)+4)
	c.n = min(c.n, countsRun-1) + 1
	n := float64(c.n)
	d := x - float64(c.mean)
	c.mean += float32(d / n)
	c.variance += float32((float64(d*(x-float64(c.mean))) - float64(c.variance)) / n)
}

func (c *counts) code(to *coder) {
	to.f32(&c.mean)
	to.f32(&c.variance)
	to.u16(&c.n)
	to.u16(&c.now)
}

// binomialTail is P(X >= x) for a negative binomial X of mean mu and size r.
func binomialTail(x int, mu, r float64) float64 {
	if x <= 0 {
		return 1
	}
	return mathext.RegIncBeta(float64(x), r, mu/(mu+r))
}

// binomialBound is Chernoff's bound on binomialTail for x above the mean,
//
//	exp(-x ln(x/mu) + (x+r) ln((x+r)/(mu+r)))
//
// never less than the tail, and at most 321 times as much for r from 0.2 to 100, mu
// from 0.1 to 300 and tails down to 1e-20 (the more, the smaller r).
func binomialBound(x int, mu, r float64) float64 {
	y := float64(x)
	if y <= mu {
		return 1
	}
	return math.Exp(float64((y+r)*math.Log((y+r)/(mu+r))) - float64(y*math.Log(y/mu)))
}

// boundSlack is how far at most binomialBound lies above binomialTail, as a factor.
const boundSlack = 400
