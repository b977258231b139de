package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stakeout-project/stakeout/ingest/event"
)

func TestDestinationsRemember(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var d destinations
	var last []uint64
	mistaken, forgotten := 0, 0
	const n = 10_000
	for range n {
		to := rng.Uint64()
		if d.has(to) {
			mistaken++
		}
		d.learn(to)
		if last = append(last, to); len(last) > 8 {
			last = last[1:]
		}
		for _, to := range last {
			if !d.has(to) {
				forgotten++
			}
		}
	}
	t.Logf("%.3f of new destinations are taken for known ones", float64(mistaken)/n)
	if share := float64(mistaken) / n; share > 0.25 {
		t.Errorf("%.3f of new destinations are taken for known ones, want at most a quarter", share)
	}
	if share := float64(forgotten) / (8 * n); share > 0.01 {
		t.Errorf("%.3f of the last eight destinations are forgotten, want at most a hundredth", share)
	}
}

// TestNewnessIsTheAgentsOwn lets one contact in ten be with somebody new.
func TestNewnessIsTheAgentsOwn(t *testing.T) {
	var d destinations
	if d.newness() != 1 {
		t.Errorf("of an agent without contacts %g of them are new, want all", d.newness())
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range uint64(2000) {
		to := i % 5
		if i%10 == 9 {
			to = rng.Uint64()
		}
		d.learn(hash(fmt.Sprint(to)))
	}
	if got := d.newness(); math.Abs(got-0.1) > 0.08 {
		t.Errorf("newness is %.3f, want about 0.1", got)
	}
}

// TestNewnessWeightIsOneOnAverage is what keeps a weighted chance a chance.
func TestNewnessWeightIsOneOnAverage(t *testing.T) {
	for _, newness := range []float64{0.02, 0.1, 0.5, 1} {
		if mean := newness*rareWeight(true, newness) + (1-newness)*rareWeight(false, newness); math.Abs(mean-1) > 1e-12 {
			t.Errorf("newness %g: mean weight %g", newness, mean)
		}
	}
}

func TestWhatLeaves(t *testing.T) {
	f := func(want bool, ev event.Event) {
		t.Helper()
		if got := leaves(&ev); got != want {
			t.Errorf("%s with effect %q to %q leaves: %t", ev.Name, ev.Effect, ev.Destination, got)
		}
	}
	f(true, event.Event{Name: event.ToolCall, Effect: event.Send})
	f(true, event.Event{Name: event.ToolCall, Effect: event.Share})
	f(true, event.Event{Name: event.ToolCall, Effect: event.Fetch, Destination: "a.example"})
	f(true, event.Event{Name: event.ToolCall, Effect: event.Write, Destination: "bucket"})
	f(true, event.Event{Name: event.ToolCall, Destination: "a.example"})
	f(false, event.Event{Name: event.ToolCall, Effect: event.Fetch})
	f(false, event.Event{Name: event.ToolCall, Effect: event.Read, Destination: "a.example"})
	f(false, event.Event{Name: event.ToolCall, Effect: event.Money, Destination: "account"})
	f(false, event.Event{Name: event.ToolResult, Effect: event.Send})
}
