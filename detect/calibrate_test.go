package detect

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestTailForetellsNewSessions draws census after census of sessions with heavy
// and light tails, and counts how many new ones exceed the bar.
func TestTailForetellsNewSessions(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	f := func(name string, draw func() float64) {
		t.Helper()
		const p, rounds, sessions, fresh = 0.005, 200, 400, 400
		over := 0
		for range rounds {
			all := make([]float64, sessions)
			for i := range all {
				all[i] = draw()
			}
			tail, ok := tailOf(all)
			if !ok {
				t.Fatal("no tail")
			}
			bar := tail.bar(all[:sessions/4], p)
			for range fresh {
				if draw() > bar {
					over++
				}
			}
		}
		if got := float64(over) / rounds / fresh / p; got < 0.7 || got > 1.3 {
			t.Errorf("%s: %.2f times the sessions expected beyond the bar, want 0.7 to 1.3", name, got)
		}
	}
	f("exponential", func() float64 { return r.ExpFloat64() * 5 })
	f("mostly nothing", func() float64 { return math.Max(0, r.ExpFloat64()*8-12) })
	f("heavier than exponential", func() float64 { return math.Pow(r.ExpFloat64(), 1.4) })
	f("far heavier", func() float64 { return math.Pow(r.Float64(), -0.3) })
	f("normal", func() float64 { return math.Abs(r.NormFloat64()) })
}

func TestBarBacksOffToAllGroups(t *testing.T) {
	quiet := make([]float64, 1000)
	for i := range quiet {
		quiet[i] = float64(i) / 100
	}
	tail, _ := tailOf(quiet)
	alone := tail.bar(nil, 0.01)
	if lucky := tail.bar([]float64{0, 0, 0, 80}, 0.01); lucky > alone+0.5 {
		t.Errorf("bar %.2f of a group of four sessions, %.2f of all groups; want about the same", lucky, alone)
	}
	loud := make([]float64, 2000)
	for i := range loud {
		loud[i] = 10 + float64(i)/100
	}
	if own := tail.bar(loud, 0.01); own < 25 {
		t.Errorf("bar %.2f of a group of 2000 sessions up to 30, want its own", own)
	}
	same := make([]float64, 100)
	for i := range same {
		same[i] = 3
	}
	flat, _ := tailOf(same)
	if bar := flat.bar(same, 0.001); bar < 3 || bar > 3.001 {
		t.Errorf("bar %v where all sessions have 3, want 3", bar)
	}
	if _, ok := tailOf(same[:29]); ok {
		t.Error("a tail of 29 sessions, want none")
	}
}
