package detect

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

func TestStudentTailAgainstGonum(t *testing.T) {
	least, most := math.Inf(1), math.Inf(-1)
	for nu := float64(numericLeast + priorWeight - 1); nu <= mostFreedom; nu++ {
		exact := distuv.StudentsT{Sigma: 1, Nu: nu}
		for x := 0.25; ; x *= 1.1 {
			want := exact.Survival(x)
			if want < 1e-12 {
				break
			}
			err := math.Log10(studentTail(x, nu) / want)
			least, most = math.Min(least, err), math.Max(most, err)
		}
	}
	t.Logf("studentTail is off by %.4f to %.4f decades", least, most)
	if least < -0.001 || most > 0.3 {
		t.Errorf("studentTail is off by %.4f to %.4f decades, want -0.001 to 0.3", least, most)
	}
}

// TestNumericFindsMoments learns log-normal values, in fixed point, and compares
// with what they were drawn from.
func TestNumericFindsMoments(t *testing.T) {
	for _, sd := range []float64{0.6, 1, 3} {
		rng := rand.New(rand.NewPCG(1, 2))
		var m numeric
		beyond := 0
		const n = 200_000
		for range n {
			v := math.Exp2(14+sd*rng.NormFloat64()) - 1
			if v < 0 {
				continue
			}
			if m.tail(v) < 1e-3 {
				beyond++
			}
			m.learn(v)
		}
		if got := float64(m.mean) / fixed; math.Abs(got-14) > 0.25*sd {
			t.Errorf("sd %g: mean is %.2f, want 14", sd, got)
		}
		if got := m.deviation(); math.Abs(got/sd-1) > 0.15 {
			t.Errorf("sd %g: deviation is %.3f", sd, got)
		}
		if share := float64(beyond) / n / 1e-3; share < 0.3 || share > 1.5 {
			t.Errorf("sd %g: %.2f times as many values as nominal lie in the tail of 1e-3", sd, share)
		}
	}
}

func TestNumericAtTheEdges(t *testing.T) {
	f := func(name string, m numeric, v, least, most float64) {
		t.Helper()
		if p := m.tail(v); p < least || p > most {
			t.Errorf("%s: tail of %g is %g, want %g to %g", name, v, p, least, most)
		}
	}
	of := func(values int, v float64) (m numeric) {
		for range values {
			m.learn(v)
		}
		return m
	}
	f("nothing known", numeric{}, 1e12, 1, 1)
	f("too little known", of(numericLeast-1, 1000), 1e12, 1, 1)
	f("always the same, and again", of(500, 1000), 1000, 0.4, 1)
	f("always the same, and twice that", of(500, 1000), 2000, 1e-2, 1)
	f("always the same, and a thousand times that", of(500, 1000), 1e6, 0, 1e-8)
	f("always nothing", of(500, 0), 0, 1, 1)
	f("more than can be", of(500, 1000), math.Inf(1), 0, 1e-8)
	m := of(500, 1000)
	m.learn(math.MaxInt64)
	if moved := float64(m.mean)/fixed - bitsOf(1000); moved > 0.01 {
		t.Errorf("one value beyond all moves the mean by %.3f bits", moved)
	}
}

func TestNearIsLessThanFourTimes(t *testing.T) {
	for _, usual := range []float64{1, 100, 5e4, 1e9} {
		var m numeric
		for range 300 {
			m.learn(usual)
		}
		for v := usual; v < usual*1e4; v *= 1.07 {
			if m.near(float32(v)) && v > 4*(usual+1) || !m.near(float32(v)) && v < 2*usual {
				t.Errorf("usual %g: %g is near: %t", usual, v, m.near(float32(v)))
			}
		}
	}
}

func BenchmarkNumericTail(b *testing.B) {
	var m numeric
	for range 300 {
		m.learn(1000)
	}
	for b.Loop() {
		m.tail(9000)
	}
}
