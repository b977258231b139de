package detect

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// TestNoMoreIsRiskedThanTheBudget asks questions of every kind at random times of
// detectors that draw on one common wealth, and adds up what is risked.
func TestNoMoreIsRiskedThanTheBudget(t *testing.T) {
	const budget = 0.01
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		shares := []float64{0.5, 0.3, 0.2}
		var wealth [3]Wealth
		var common Wealth
		var watching [3]bool
		for i, s := range shares {
			wealth[i] = firstWealth(s * budget)
		}
		risked, told, days := 0.0, 0.0, 0.0
		for range 20_000 {
			passed := time.Duration(r.ExpFloat64() * float64(30*time.Minute))
			if r.IntN(500) == 0 {
				passed *= 300
			}
			days += passed.Hours() / 24
			for i, s := range shares {
				before := float64(wealth[i]) + float64(common) + s*budget*passed.Hours()/24
				var q Test
				switch r.IntN(3) {
				case 0:
					q = Test{Rate: budget * s * r.ExpFloat64() * 2}
				case 1:
					q = Test{P: r.Float64()}
				}
				_, _, on := purse{&wealth[i], &common, s * budget, budget, &told}.decide(q, paidDays(passed), watching[i])
				watching[i] = on
				switch spent := before - float64(wealth[i]) - float64(common); {
				case q.P > 0, q.Rate > 0 && on:
					risked += max(spent, 0)
				}
				if wealth[i] < 0 || common < 0 || float64(common) > wealthDays*budget*1.0001 || float64(wealth[i]) > wealthDays*s*budget*1.0001 {
					t.Fatalf("seed %d: wealth %v, common %v", seed, wealth[i], common)
				}
			}
		}
		if most := budget * (days + restored); risked > most {
			t.Errorf("seed %d: %.4f risked in %.1f days, want at most %.4f", seed, risked, days, most)
		}
		// What the common wealth had no room for is gone, but was not risked.
		if told > risked*1.001 || told < risked*0.8 {
			t.Errorf("seed %d: %.4f risked or gone, %.4f said to be risked", seed, risked, told)
		}
	}
}

// TestWhatOneCannotSaveIsThereForAll has a detector that asks nothing pay for one
// whose rate is more than its share.
func TestWhatOneCannotSaveIsThereForAll(t *testing.T) {
	const budget, share = 0.01, 0.005
	var risked float64
	watch := func(company bool) (hours int) {
		quiet, busy, common := firstWealth(share), firstWealth(share), Wealth(0)
		on := false
		for range 24 * 30 {
			if company {
				purse{&quiet, &common, share, budget, &risked}.decide(Test{}, paidDays(time.Hour), false)
			}
			if _, _, on = (purse{&busy, &common, share, budget, &risked}).decide(Test{Rate: 1.8 * share}, paidDays(time.Hour), on); on {
				hours++
			}
		}
		return hours
	}
	alone, together := watch(false), watch(true)
	if alone > 24*30*7/10 || together < 24*30*9/10 {
		t.Errorf("on watch for %d of 720 hours alone and %d beside a quiet one, want about 400 and 700", alone, together)
	}
}

// TestWhatIsCertainIsNoTest has a rule broken where there is no wealth, and where
// there is: it is a finding that changes nothing of what is paid for the question.
func TestWhatIsCertainIsNoTest(t *testing.T) {
	const share = 0.005
	var risked float64
	for _, q := range []Test{{}, {Rate: share}, {Rate: share, Odd: true}, {P: 0.5}, {Rate: 1000}} {
		for _, have := range []Wealth{0, share} {
			for _, passed := range []time.Duration{0, time.Hour} {
				own, common, plainOwn, plainCommon := have, have, have, have
				_, _, want := purse{&plainOwn, &plainCommon, share, 2 * share, &risked}.decide(q, paidDays(passed), true)
				q.Certain = true
				level, found, on := purse{&own, &common, share, 2 * share, &risked}.decide(q, paidDays(passed), true)
				if level != 0 || !found || on != want || own != plainOwn || common != plainCommon || q.pValue() != 0 || !q.suspect() {
					t.Errorf("%+v with %v: level %v, found %t, watching %t, %v and %v left; want 0, true, %t, %v and %v", q, have, level, found, on, own, common, want, plainOwn, plainCommon)
				}
				q.Certain = false
			}
		}
	}
}

// TestALevelIsAPartOfAllThereIs has a p-value held against what its detector has and what
// others left, and both spent.
func TestALevelIsAPartOfAllThereIs(t *testing.T) {
	const share = 0.001
	var risked float64
	own, common := Wealth(share), Wealth(3*share)
	level, found, _ := purse{&own, &common, share, 10 * share, &risked}.decide(Test{P: share}, 0, false)
	if want := 4 * share * stake; math.Abs(level-want) > 1e-8 || !found || math.Abs(risked-want) > 1e-8 {
		t.Errorf("level %v, found %t, %v risked; want %v, a finding and as much", level, found, risked, want)
	}
	if left := float64(own + common); math.Abs(left-3*share) > 1e-8 {
		t.Errorf("%v left of %v, want three quarters", left, 4*share)
	}
	// Up to a day of the budget in the common wealth is for surprises, and half of what is beyond for the p-value.
	for _, tt := range []struct{ common, want float64 }{{5, restored}, {10, restored}, {13, restored}, {14, 2}, {30, 10}} {
		own, common, risked = 3*share, Wealth(tt.common*share), 0
		level, _, _ := purse{&own, &common, share, 10 * share, &risked}.decide(Test{P: 1}, 0, false)
		if math.Abs(level-tt.want*share) > 1e-8 || math.Abs(risked-level) > 1e-8 {
			t.Errorf("level %v with %g days of the share in the common wealth, and %v risked; want %v of both", level, tt.common, risked, tt.want*share)
		}
	}
	// However large the budget, of which this is all.
	for _, share := range []float64{0.01, 0.1, 1, 1000} {
		own, common = firstWealth(share), Wealth(wealthDays*share)
		level, _, _ := purse{&own, &common, share, share, &risked}.decide(Test{P: 0.5}, 0, false)
		if level > boldest || level < min(share, boldest) {
			t.Errorf("level %v at a budget of %v, want at most %v", level, share, boldest)
		}
	}
}
