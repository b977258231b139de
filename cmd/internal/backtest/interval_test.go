package backtest

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// TestIntervalLeavesOutWhatWouldSurprise holds the ends of an interval against the
// tails of the Poisson distribution that they are the means of.
func TestIntervalLeavesOutWhatWouldSurprise(t *testing.T) {
	for _, n := range []int{0, 1, 2, 16, 123, 5000} {
		for _, expected := range []float64{0.1, 1, 6, 400} {
			i := intervalOf(n, expected)
			if n > 0 {
				if p := 1 - (distuv.Poisson{Lambda: i.Low * expected}).CDF(float64(n-1)); math.Abs(p-unsure) > 1e-6 {
					t.Errorf("%d of %g: %d or more have the chance %.6f at the lower end, want %g", n, expected, n, p, unsure)
				}
			} else if i.Low != 0 {
				t.Errorf("none of %g: from %v, want 0", expected, i.Low)
			}
			if p := (distuv.Poisson{Lambda: i.High * expected}).CDF(float64(n)); math.Abs(p-unsure) > 1e-6 {
				t.Errorf("%d of %g: %d or fewer have the chance %.6f at the upper end, want %g", n, expected, n, p, unsure)
			}
		}
	}
	if i := intervalOf(3, 0); i != (Interval{}) {
		t.Errorf("three where none are expected: %v, want nothing said", i)
	}
}
