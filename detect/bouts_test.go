package detect

import (
	"math/rand/v2"
	"testing"
)

// TestBoutsHold has agents whose bouts loop with a chance that stays what it is, from never to
// always: at ten bouts a day, it is told of less than once in ten thousand agent-days,
// a fourth of what the share of the detector allows.
func TestBoutsHold(t *testing.T) {
	const n, perDay = 400_000, 10
	for _, chance := range []float64{0, .001, .003, .01, .03, .1, .3, .6, 1} {
		rng := rand.New(rand.NewPCG(1, uint64(chance*1000)))
		var b bouts
		told := 0
		for range n {
			if rng.Float64() < chance {
				odd := b.with(true) >= toldBouts
				if odd {
					told++
				}
				b.repeat(odd, true)
			}
			b.end()
		}
		rate := float64(told) / n * perDay
		t.Logf("bouts that loop with a chance of %g: %d told in %d agent-days, %.1g a day", chance, told, n/perDay, rate)
		if rate > 1e-4 {
			t.Errorf("%.2g told in an agent-day at %g, want at most 1e-4", rate, chance)
		}
	}
}
