package backtest

import (
	"fmt"

	"gonum.org/v1/gonum/mathext"
)

// An Interval says how far a ratio of false findings to those that were expected
// can be believed: the means of a Poisson count, over what was expected, that
// would not have surprised with the count seen. It is for false findings that have
// nothing to do with each other; where one job makes several, it is too narrow.
type Interval struct {
	Low  float64 `json:"realised_low"`
	High float64 `json:"realised_high"`
}

// unsure is the chance that either end of an interval leaves out.
const unsure = 0.025

// intervalOf returns the exact interval of 95 % for a count (Garwood 1936),
//
//	G(n, 1/40) / m  to  G(n + 1, 39/40) / m
//
// with G(a, p) the quantile of a Gamma distribution of shape a, of which the count
// n has m expected. Where none are expected there is nothing to say: both ends are 0.
func intervalOf(n int, expected float64) (i Interval) {
	if expected <= 0 {
		return i
	}
	if n > 0 {
		i.Low = mathext.GammaIncRegInv(float64(n), unsure) / expected
	}
	i.High = mathext.GammaIncRegInv(float64(n)+1, 1-unsure) / expected
	return i
}

// text says an interval.
func (i Interval) text() string { return fmt.Sprintf("%.2f to %.2f", i.Low, i.High) }
