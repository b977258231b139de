package detect

import (
	"fmt"
	"math"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Amplification finds an agent that goes in circles, calls far more tools in a
// minute than it does, or spends far more in an hour: a loop at its owner's expense.
type Amplification struct{ Prior Prior }

// About implements [Detector].
func (d Amplification) About() About {
	return About{Slot: 6, Name: "amplification", Threat: LoopAmplification, Severity: Medium,
		Normal: "calls, tokens and cost per hour as usual, or a job that has always repeated itself",
		ASI:    []string{"ASI08"}, ATLAS: []string{"AML.T0034.002"}}
}

func (d Amplification) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every event of a mature agent. A call that
// tells neither resource nor argument hashes repeats nothing; where neither tokens nor cost
// are told, nothing is spent. A batch that has always looped is a habit, and so is
// whatever passed without being reported.
func (d Amplification) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.Profile.volumes.test(amplifications, v.odd(amplifications), v.prior(d.Prior), v.Profile.days)
}

const (
	fewCalls   = 30     // calls in a minute that are no amplification yet
	oddCalls   = 1e-8   // chance of so many below which they are odd
	smallSpend = 50_000 // tokens in an hour, or millionths of a dollar, that are none either
	oddSpend   = 1e-6
)

// An overuse is what is too much about an event: at most one of its parts is not zero.
type overuse struct {
	period, run int     // of a loop
	bouts       int     // that looped a little, lately
	calls       int     // in this minute
	spent       float32 // in this hour
}

func (x overuse) odd() bool { return x != overuse{} }

// amplification looks whether ev makes something too much that was not before it, so
// that a minute or an hour is too much only once.
func amplification(v View) overuse {
	ev, p := v.Event, &v.Profile.volumes
	if p.old(amplifications, ev) {
		return overuse{}
	}
	if ev.Name == event.ToolCall {
		if !p.pauses(minuteOf(ev.Time)) {
			if period, run := p.loop.turns(ev); period > 0 {
				return overuse{period: period, run: run}
			}
			if _, odd := p.loop.repeats(ev); odd {
				return overuse{bouts: int(p.loop.bouts.looped) + 1}
			}
		}
		if n := p.called(ev); n >= fewCalls && p.calls.below(n, oddCalls) && (n == fewCalls || !p.calls.below(n-1, oddCalls)) {
			return overuse{calls: n}
		}
	}
	if spends(ev) == 0 {
		return overuse{}
	}
	h, now := &p.hourly[spending], minuteOf(ev.Time)
	if before, after := p.sums(ev); after[spending] >= smallSpend && !h.nearAt(after[spending], p.offset(now)) &&
		p.spendingChance(after[spending], now) < oddSpend && (before[spending] < smallSpend || p.spendingChance(before[spending], now) >= oddSpend) {
		return overuse{spent: after[spending]}
	}
	return overuse{}
}

// spends is what an event costs: tokens read and written, or millionths of a dollar
// where no tokens are told.
func spends(ev *event.Event) float32 {
	if ev.Name != event.ModelCall && ev.Name != event.ToolCall {
		return 0
	}
	if ev.InputTokens.OK || ev.OutputTokens.OK {
		return float32(max(ev.InputTokens.V, 0)) + float32(max(ev.OutputTokens.V, 0))
	}
	if ev.Cost.OK && ev.Cost.V > 0 {
		return float32(math.Min(ev.Cost.V*1e6, math.MaxInt64))
	}
	return 0
}

// Explain implements [Detector].
func (d Amplification) Explain(v View) Claim {
	ev, p, x := v.Event, &v.Profile.volumes, amplification(v)
	switch {
	case x.run > 0:
		round := "the same call"
		if x.period > 1 {
			round = fmt.Sprintf("the same %d calls in turn", x.period)
		}
		longest := "none that long was its habit"
		if p.loop.habit > 0 {
			longest = fmt.Sprintf("up to %d are its habit", 1<<(p.loop.habit-1))
		}
		return Claim{
			Reason:   fmt.Sprintf("%s goes in circles: %s, with the same arguments, over and over", ev.Agent, round),
			Observed: fmt.Sprintf("%d repetitions without a pause, the last %s", x.run, ev.Tool),
			Baseline: fmt.Sprintf("of runs of %d repetitions and more, %s", loopLeast, longest),
			Entities: []Entity{{ToolEntity, ev.Tool}},
		}
	case x.bouts > 0:
		b := &p.loop.bouts
		return Claim{
			Reason:   fmt.Sprintf("%s repeats the same calls, a few times each, in session after session", ev.Agent),
			Observed: fmt.Sprintf("%d repetitions and more in %d bouts of calls, the last of %s; %.1f nats of evidence that this is more than its way", boutRun, x.bouts, ev.Tool, b.with(true)),
			Baseline: fmt.Sprintf("of its last %d bouts %.1f%% did so", b.all, 100*b.share()),
			Entities: []Entity{{ToolEntity, ev.Tool}},
		}
	case x.calls > 0:
		mu, r := p.calls.predictive()
		return Claim{
			Reason:   fmt.Sprintf("%s called tools %d times in a minute, far more often than it does", ev.Agent, x.calls),
			Observed: fmt.Sprintf("%d calls in the minute from %s, the last %s", x.calls, ev.Time.Time().UTC().Format("15:04"), ev.Tool),
			Baseline: fmt.Sprintf("in %s with any, %.1f calls on average, standard deviation %.1f; chance of as many: %.1g", remembered(p.calls.n, countsRun, "minutes"), mu+1, math.Sqrt(mu+float64(mu*mu)/r), p.calls.tail(x.calls)),
			Entities: []Entity{{ToolEntity, ev.Tool}},
		}
	}
	unit := "tokens"
	spent, usual := float64(x.spent), p.usualSpending(minuteOf(ev.Time))
	amount := func(n float64) string { return fmt.Sprintf("%.0f tokens", n) }
	if !ev.InputTokens.OK && !ev.OutputTokens.OK {
		unit = "money"
		amount = func(n float64) string { return fmt.Sprintf("%.2f USD", n/1e6) }
	}
	return Claim{
		Reason:   fmt.Sprintf("%s spent far more %s in an hour than it does", ev.Agent, unit),
		Observed: fmt.Sprintf("%s in the hour from %s", amount(spent), hourText(ev.Time)),
		Baseline: fmt.Sprintf("in %s with any, about %s at this hour; chance of as much: %.1g", remembered(p.hourly[spending].n, numericRun, "hours"), amount(usual), p.spendingChance(x.spent, minuteOf(ev.Time))),
	}
}
