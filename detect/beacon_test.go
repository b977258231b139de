package detect

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestIntervalsOfChance holds the tail to intervals of a Poisson process with one contact
// in a quarter of an hour, whose logarithms are not normal as the chi-square distribution supposes.
func TestIntervalsOfChance(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	const runs = 100_000
	for _, n := range []int{8, 16, 32} {
		hits := map[float64]int{1e-2: 0, 1e-3: 0}
		for range runs {
			var b beacon
			for range n {
				b.gaps.learn(float64(beaconSpell) + 225*rng.ExpFloat64())
			}
			for p := range hits {
				if b.tail() < p {
					hits[p]++
				}
			}
		}
		for p, hit := range hits {
			if share := float64(hit) / runs / p; share > 3 {
				t.Errorf("%d intervals of chance: %.1f times as many as nominal are as regular as %g", n, share, p)
			}
		}
	}
}

func TestRegularity(t *testing.T) {
	f := func(name string, jitter float64, n int, want bool) {
		t.Helper()
		rng := rand.New(rand.NewPCG(7, 8))
		var b beacon
		for range n {
			b.gaps.learn(225 * (1 + jitter*(2*rng.Float64()-1)))
		}
		if got := b.tail() < oddRegular; got != want {
			t.Errorf("%s: tail of %d intervals is %g, regular: %t", name, n, b.tail(), got)
		}
	}
	f("by the clock", 0, 8, true)
	f("give or take a twentieth", 0.05, 8, true)
	f("give or take half, too few to tell", 0.5, 8, false)
	f("give or take half", 0.5, 32, true)
}

// TestBeaconsKeepTheirPlace has one destination contacted every ten minutes, while
// others that are new, too, are contacted by chance.
func TestBeaconsKeepTheirPlace(t *testing.T) {
	for _, perHour := range []int{0, 2, 6} {
		rng := rand.New(rand.NewPCG(9, 10))
		var p Volumes
		at := start
		for beat := range 40 {
			for range 6 {
				at += event.Timestamp(100 * time.Second)
				if rng.IntN(36) < perHour {
					to := rng.Uint64()
					p.contact(to, at, true, false)
					p.known.learn(to)
				}
			}
			p.contact(42, at, true, false)
			p.known.learn(42)
			if b := p.beacon(42); b != nil && b.gaps.n >= beaconLeast && b.tail() < oddRegular {
				t.Logf("%d others an hour: regular after %d contacts", perHour, beat+1)
				break
			}
			if beat == 39 {
				t.Errorf("%d others an hour: not seen", perHour)
			}
		}
	}
}
