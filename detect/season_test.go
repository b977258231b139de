package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestSeasonIsLearned lets hours and days differ and compares with the means of the same
// hours in bits, as gonum has them.
func TestSeasonIsLearned(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var p Volumes
	var values [24][]float64
	const days = 60
	for h := range uint32(days * 24) {
		y := 17 + 0.7*rng.NormFloat64()
		if h%24 == 2 {
			y += 8
		}
		if h%24 >= 20 {
			y -= 5
		}
		v := math.Exp2(y)
		values[h%24] = append(values[h%24], bitsOf(v))
		minute := h * 60
		off := float64(p.offset(minute).without(float32(v)))
		p.season.learn(minute, v, &p.hourly[spending])
		p.hourly[spending].learn(off)
	}
	for h := range uint32(24) {
		want := stat.Mean(values[h], nil)
		got := bitsOf(p.usualSpending((days*24 + h) * 60))
		if math.Abs(got-want) > 1 {
			t.Errorf("at %d h: usual %.1f bits, mean %.1f", h, got, want)
		}
	}
	if sd := p.hourly[spending].deviation(); sd > 1.3 {
		t.Errorf("deviation %.2f bits once the season is taken out, want about 0.7", sd)
	}
}

// nightShift runs agents with work by day and a batch in the hour from two, each day; on
// the last of them the batch's spending comes at another hour. It counts false findings of
// amplification before, and agents found then.
func nightShift(agents, days, atHour int, batch float64) (wrong, found int) {
	rng := rand.New(rand.NewPCG(7, 7))
	e := New(DefaultRules())
	offset := int64(0)
	for a := range agents {
		spend := func(day, hour int, bits float64) (n int) {
			for i := range 4 {
				ev := &event.Event{Time: start + event.Timestamp(time.Duration(day*24+hour-9)*time.Hour+time.Duration(i*7)*time.Minute), Name: event.ModelCall, Agent: fmt.Sprint("agent-", a),
					ID: fmt.Sprint(offset), Session: fmt.Sprint(a, "/", day, "/", hour), InputTokens: event.Some(int64(math.Exp2(bits - 2)))}
				for _, f := range e.Observe(ev, offset, event.Source{}) {
					if f.Detector == "amplification" {
						n++
					}
				}
				offset++
			}
			return n
		}
		for day := range days {
			for hour := range 24 {
				switch {
				case hour == 2:
					wrong += spend(day, hour, 15+batch+0.7*rng.NormFloat64())
				case hour >= 8 && hour < 18 && day%7 < 5:
					wrong += spend(day, hour, 15+0.7*rng.NormFloat64())
				}
			}
		}
		if spend(days, atHour, 15+batch) > 0 {
			found++
		}
	}
	return wrong, found
}

// TestNightlyBatchIsNoSurpriseAtNight holds what the season is for: without it none of
// these is found at noon.
func TestNightlyBatchIsNoSurpriseAtNight(t *testing.T) {
	const agents, days = 40, 84
	for _, batch := range []float64{6, 8, 10} {
		wrong, night := nightShift(agents, days, 2, batch)
		_, noon := nightShift(agents, days, 12, batch)
		t.Logf("a batch of 2^%.0f times an hour's work: %d false findings in %d agent-days; once more at two o'clock found %d of %d, at noon %d", batch, wrong, agents*days, night, agents, noon)
		if wrong > 2 || night > 1 || noon < 28 {
			t.Errorf("a batch of 2^%.0f times an hour's work: %d false findings, found %d at night and %d at noon; want at most 2 and 1, and at least 28", batch, wrong, night, noon)
		}
	}
}
