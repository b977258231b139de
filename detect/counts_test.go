package detect

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// TestBinomialTailAgainstSums holds tail and bound, over a grid, to the sum of the probabilities.
func TestBinomialTailAgainstSums(t *testing.T) {
	worst, most := 0.0, 0.0
	for _, r := range []float64{0.2, 0.5, 1, 2, 5, 20, 100} {
		for _, mu := range []float64{0.1, 0.5, 1, 3, 10, 30, 100, 300} {
			for x := int(mu) + 1; ; x += 1 + x/8 {
				exact := binomialTail(x, mu, r)
				if exact < 1e-20 {
					break
				}
				worst = math.Max(worst, math.Abs(sumTail(x, mu, r)/exact-1))
				slack := binomialBound(x, mu, r) / exact
				if slack < 1-1e-9 {
					t.Fatalf("r %g, mu %g, x %d: bound is %g of the tail", r, mu, x, slack)
				}
				most = math.Max(most, slack)
			}
		}
	}
	t.Logf("the tail is off by at most %.2g of itself; the bound is at most %.1f times the tail", worst, most)
	if worst > 1e-6 || most > boundSlack {
		t.Errorf("the tail is off by %g of itself, want 1e-6; the bound is %g times the tail, want at most %d", worst, most, boundSlack)
	}
}

// sumTail sums P(X = k) for k >= x, each from the one before it.
func sumTail(x int, mu, r float64) float64 {
	lg := func(v float64) float64 { l, _ := math.Lgamma(v); return l }
	k := float64(x)
	q := mu / (mu + r)
	term := math.Exp(lg(k+r) - lg(r) - lg(k+1) + r*math.Log1p(-q) + k*math.Log(q))
	sum := 0.0
	for term > sum*1e-15 {
		sum += term
		k++
		term *= (k - 1 + r) / k * q
	}
	return sum
}

// TestCountsLearnRateAndSpread feeds minutes of a known distribution.
func TestCountsLearnRateAndSpread(t *testing.T) {
	for _, tt := range []struct{ mu, kappa float64 }{{1, 1}, {5, 2}, {20, 10}} {
		rng := rand.New(rand.NewPCG(3, 4))
		var c counts
		const n = 100_000
		beyond := 0
		for range n {
			rate := distuv.Gamma{Alpha: tt.kappa, Beta: tt.kappa / tt.mu, Src: rng}.Rand()
			c.now = 1 + uint16(distuv.Poisson{Lambda: rate, Src: rng}.Rand())
			if c.n >= 100 && c.below(int(c.now), 1e-3) {
				beyond++
			}
			c.close(true)
		}
		if mu, _ := c.predictive(); math.Abs(mu/tt.mu-1) > 0.3 {
			t.Errorf("mu %g, kappa %g: mean is %.2f", tt.mu, tt.kappa, mu)
		}
		if share := float64(beyond) / n / 1e-3; share > 2.5 {
			t.Errorf("mu %g, kappa %g: %.2f times as many minutes as nominal lie in the tail of 1e-3", tt.mu, tt.kappa, share)
		}
	}
}

func TestCountsAtTheEdges(t *testing.T) {
	var c counts
	if p := c.tail(1); p != 1 {
		t.Errorf("one call in a minute has a tail of %g, want 1", p)
	}
	if c.below(10_000, 1e-6) {
		t.Error("nothing known, and ten thousand calls in a minute are said to be unusual")
	}
	for range 1000 {
		c.now = 1
		c.close(true)
	}
	if mu, r := c.predictive(); mu <= 0 || mu > 0.1 || math.IsNaN(r) || r <= 0 {
		t.Errorf("always one call in a minute: mean %g, size %g", mu, r)
	}
	before := c
	c.now = math.MaxUint16
	c.close(false)
	if c != before {
		t.Error("a minute that is not to be learned changes the counts")
	}
	c.now = math.MaxUint16
	c.close(true)
	if mu, _ := c.predictive(); mu > 0.2 {
		t.Errorf("one minute beyond all moves the mean to %g", mu)
	}
}

func BenchmarkCountsTail(b *testing.B) {
	var c counts
	for _, bench := range []struct {
		name string
		f    func()
	}{{"exact", func() { c.tail(60) }}, {"bound", func() { mu, r := c.predictive(); binomialBound(60, mu, r) }}} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				bench.f()
			}
		})
	}
}
