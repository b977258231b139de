package detect

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// TestTailsForetell lets agents show values of many distributions, and then holds the
// chance that is said of values far out against how often there are such: a few times
// as often as said at most, until more values are known.
func TestTailsForetell(t *testing.T) {
	f := func(name string, n int, most float64, draw func(*rand.Rand) float64) {
		t.Helper()
		rng := rand.New(rand.NewPCG(3, 4))
		const agents, ahead = 200, 200
		for _, level := range []float64{1e-2, 1e-3, 1e-4} {
			odd := 0
			for range agents {
				var m numeric
				var h excesses
				value := func() float64 { return math.Exp2(math.Min(20+draw(rng), 60)) }
				for range n {
					v := value()
					h.learn(m.score(v), m.n, 1)
					m.learn(v)
				}
				for range ahead {
					if v := value(); h.chance(m.tail(v), m.score(v), m.n) < level {
						odd++
					}
				}
			}
			share := float64(odd) / (agents * ahead)
			t.Logf("%-20s after %3d values: %.2g of the next have a chance below %g", name, n, share, level)
			if share > most*level+3*math.Sqrt(most*level/(agents*ahead)) {
				t.Errorf("%s: after %d values %.2g of the next have a chance below %g", name, n, share, level)
			}
		}
	}
	for _, n := range []int{100, 400} {
		f("normal", n, 1, func(rng *rand.Rand) float64 { return rng.NormFloat64() })
		f("Student, 3", n, 3, func(rng *rand.Rand) float64 { return distuv.StudentsT{Sigma: .7, Nu: 3, Src: rng}.Rand() })
		f("exponential", n, 2, func(rng *rand.Rand) float64 { return rng.ExpFloat64() / (1.5 * math.Ln2) })
		f("Pareto, 1.5", n, 8, func(rng *rand.Rand) float64 { return math.Pow(1-rng.Float64(), -1/1.5) })
	}
}

// TestTailShapesAreDistributions integrates each density, and holds the chance beyond
// against it.
func TestTailShapesAreDistributions(t *testing.T) {
	for _, s := range tailShapes() {
		for _, mean := range []float64{0.3, 0.8, 2} {
			const step = 1e-3
			sum := 0.0
			for i := range 10_000 {
				sum += math.Exp(s.density((float64(i)+0.5)*step, mean)) * step
			}
			if want := 1 - s.beyond(10, mean); math.Abs(sum-want) > 1e-4 {
				t.Errorf("shape %.2f, mean %g: the density up to 10 sums to %.5f, want %.5f", s.shape, mean, sum, want)
			}
		}
	}
}

func TestTailsLearnWhatIsHeavy(t *testing.T) {
	chance := func(draw func(*rand.Rand) float64) float64 {
		rng := rand.New(rand.NewPCG(5, 6))
		var h excesses
		for i := range 500 {
			h.learn(draw(rng), uint16(i), 1)
		}
		return h.chance(1e-300, 8, 500)
	}
	light := chance(func(rng *rand.Rand) float64 { return rng.NormFloat64() })
	heavy := chance(func(rng *rand.Rand) float64 { return 2 * distuv.StudentsT{Sigma: .7, Nu: 3, Src: rng}.Rand() })
	if fresh := (excesses{}).chance(1e-300, 8, 500); !(light < fresh/3 && fresh < heavy) {
		t.Errorf("eight deviations out have a chance of %.2g with an agent whose values are normal, %.2g with one not known, %.2g with a heavy tail", light, fresh, heavy)
	}
}
