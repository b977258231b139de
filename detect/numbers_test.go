package detect

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestNumbers(t *testing.T) {
	type step struct {
		seq  int64
		over bool
	}
	then := func(seqs ...int64) (steps []step) {
		for _, n := range seqs {
			steps = append(steps, step{seq: n})
		}
		return steps
	}
	end := func(steps []step, seq int64) []step { return append(steps, step{seq, true}) }
	f := func(name string, inOrder bool, steps []step, want uint8) {
		t.Helper()
		var n numbers
		for _, s := range steps {
			n, _, _ = n.next(s.seq, inOrder, s.over)
		}
		if n.lost != want {
			t.Errorf("%s: %d numbers are lost, want %d: %+v", name, n.lost, want, n)
		}
	}
	f("nothing is missing", true, end(then(0, 1, 2, 3, 4), 5), 0)
	f("a session that is met in its middle misses nothing", true, end(then(100, 101), 102), 0)
	f("two are missing, and may come yet", true, then(0, 1, 4, 5, 6), 0)
	f("two are missing, and four higher ones have come", true, then(0, 1, 4, 5, 6, 7, 8), 2)
	f("two are missing at the end", true, end(then(0, 1, 4), 5), 2)
	f("two came late", true, end(then(0, 1, 4, 3, 2), 5), 0)
	f("two came after they were given up", true, then(0, 1, 4, 5, 6, 7, 8, 2, 3), 0)
	f("a number that comes again is not missing another time", true, end(then(0, 1, 1, 2, 0, 2), 3), 0)
	f("a leap beyond the window", true, end(then(0), 100), 99)
	f("a leap, and more than a byte can tell", true, end(then(0), 1000), 255)
	f("across the end of sixteen bits", true, end(then(65533, 65534, 65535, 65536, 65540), 65541), 3)
	f("out of order, the end of a session is not the end of waiting", false, end(then(0, 1, 4), 5)[:3], 0)
	f("out of order, nothing is given up before a pause", false, then(0, 1, 4, 5, 6, 7, 8, 9, 10), 0)
	f("out of order, a pause ends the waiting", false, end(then(0, 1, 4, 5), 6), 2)
	f("out of order, what is missing since the pause may come yet", false, end(then(0, 1, 2), 9), 0)
}

// TestNumbersCountWhatIsMissing takes stretches out of long sessions and changes the
// order a little: as many are lost as were taken out.
func TestNumbersCountWhatIsMissing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		const length = 120
		var seqs []int64
		missing := 0
		for n := int64(0); n < length; n++ {
			if n > 0 && n < length-1 && rng.IntN(15) == 0 {
				missing++
				continue
			}
			seqs = append(seqs, n)
		}
		for i := 1; i+2 < len(seqs); i++ {
			if rng.IntN(20) == 0 {
				seqs[i], seqs[i+1] = seqs[i+1], seqs[i]
			}
		}
		var n numbers
		for i, seq := range seqs {
			n, _, _ = n.next(seq, true, i == len(seqs)-1)
		}
		if int(n.lost) != missing {
			t.Fatalf("%d are lost, want %d, of %v", n.lost, missing, slices.Clone(seqs))
		}
	}
}
