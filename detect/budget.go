package detect

import (
	"math"
	"time"
)

// Wealth is what one agent's tests by one detector may still risk: the expected
// number of false findings that is not yet spent.
//
// It grows by the detector's share of the budget each day and holds at most
// three days of it. Whatever a test risks is taken off before its answer is
// known. So the expected number of false findings up to day T is at most
// share * (T + 1.5), under any dependence between tests and at any rate of events:
// alpha spending, which controls the per-family error rate.
type Wealth float32

// firstWealth is what a new agent begins with.
func firstWealth(share float64) Wealth { return Wealth(restored * share) }

const (
	wealthDays = 3        // of budget that may be saved up
	restored   = 1.5      // and that are enough to watch on
	stake      = 1.0 / 4  // of the wealth that one test with a continuous p-value risks
	reserve    = 1        // days of the budget that such a test leaves in the common wealth,
	spare      = 1.0 / 2  // and the part of what is beyond them that it may risk instead
	boldest    = 1.0 / 50 // and the level of such a test at most, whatever the budget
	dearest    = 4.5      // times the share that surprises are expected at, at most, for a detector to watch for them

	settling = time.Minute // how much time is paid for at once, at least
)

// A Test is one detector's question to one event, of one of two kinds, or none.
//
// A surprise comes at a known rate while the agent behaves as it always did. The
// detector is on watch whether this event could surprise or not, so it pays rent
// for the time that passed, and a flood of events costs it nothing. Where the rate
// is more than the share of the budget, it watches until its wealth is spent, and
// rests until it has saved half of what it may, and a day's rate: in long turns, so that
// whether it watches has nothing to do with what the agent is doing. What its share does
// not pay for, what others could not save may. Where surprises are expected more often
// than [dearest] times its share, or than all of the budget pays for, it does not watch: they
// come in bunches, and one of them would be many findings.
//
// A p-value, uniform or larger while the agent behaves as it always did, risks
// the level that it is compared with: a part of what is there, its own or left by others,
// and what a day and a half of its share are at most. Where more is left by others than
// surprises are likely to want in a day, it may be a part of that: a surprise has no level to
// choose, so only such a test can use what nothing else asks for; but what comes about once in
// fifty times is nothing odd, however large the budget.
//
// What breaks a declared rule is certain besides: a finding at any wealth, that
// risks nothing, because chance has no part in it. The question is paid for as if
// the rule were not.
type Test struct {
	Rate float64 // of surprises per day; 0 if this is no question about a surprise
	Odd  bool    // this event is one
	P    float64 // p-value; 0 if this is no question with one

	Certain bool // the event breaks a rule: no question, whatever the others are
}

// pValue is the chance of something as odd: for a surprise, of one in a day. What is
// certain has none: it is 0, as the level is.
func (t Test) pValue() float64 {
	if t.Certain {
		return 0
	}
	if t.Rate > 0 {
		return -math.Expm1(-t.Rate)
	}
	return t.P
}

// suspect reports whether the event is too odd to be learned, found or not.
func (t Test) suspect() bool { return t.Certain || t.Odd || t.P > 0 && t.P <= suspicious }

// suspicious is the p-value from which an event is not learned.
const suspicious = 1e-4

// A purse is what one detector may draw on for one agent: its own wealth, and what
// no detector could save, because it had as much as it may: a budget that is not
// spent by one is there for all.
type purse struct {
	own    *Wealth
	common *Wealth
	share  float64  // of the budget per day, of this detector
	budget float64  // per day, of all
	risked *float64 // so far, of all agents
}

// Funds are what is in a purse while a detector decides.
type funds struct{ own, common float64 }

// earn takes in the share of so many days. Who is full leaves the rest to all.
func (p *purse) earn(have funds, days float64) funds {
	have.own += float64(p.share * days)
	if most := wealthDays * p.share; have.own > most {
		have.common += have.own - most
		have.own = most
		if most := wealthDays * p.budget; have.common > most {
			have.common = most
		}
	}
	return have
}

// spend takes off what is risked, the own first, and adds it up.
func (p *purse) spend(have funds, x float64) funds {
	*p.risked += x
	if have.own -= x; have.own < 0 {
		have.common, have.own = have.common+have.own, 0
		if have.common < 0 {
			have.common = 0
		}
	}
	return have
}

// paidDays are the days that are paid for when so much time has passed: what is beyond
// is more than may be saved.
func paidDays(passed time.Duration) float64 { return min(passed.Hours()/24, wealthDays) }

// decide pays for the days since the last event, spends what t risks and says
// whether t is a finding, and at which level it was asked. Watching tells whether
// the detector is on watch, before and after.
func (p purse) decide(t Test, days float64, watching bool) (level float64, found, on bool) {
	have := p.earn(funds{float64(*p.own), float64(*p.common)}, days)
	switch {
	case t.Rate > 0:
		level = have.own + have.common
		rent := float64(t.Rate * days)
		on = level >= rent && t.Rate <= min(dearest*p.share, p.budget) && (watching || level >= restored*p.share && level >= t.Rate)
		if on {
			have = p.spend(have, rent)
			found = t.Odd
		}
	case t.P > 0:
		level = min((have.own+have.common)*stake, restored*p.share)
		level = min(max(level, float64(have.common-reserve*p.budget)*spare), boldest)
		have = p.spend(have, level)
		found = t.P <= level
	default:
		level, on = have.own, watching
	}
	*p.own, *p.common = Wealth(have.own), Wealth(have.common)
	if t.Certain {
		return 0, true, on
	}
	return level, found, on
}

// elapsed is the time from one event to the next; never negative, because events may come late.
func elapsed(from, to instant) time.Duration { return max(to.Sub(from), 0) }
