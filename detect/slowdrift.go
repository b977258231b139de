package detect

import (
	"fmt"
	"math"
)

// SlowDrift finds an agent whose days move away from its first fortnight in steps
// too small for a baseline that adapts: what its model writes becomes longer or
// shorter, or privileges of high impact become a larger or smaller part of what it
// exercises.
type SlowDrift struct{}

// About implements [Detector].
func (d SlowDrift) About() About {
	return About{Slot: 15, Name: "slow_drift", Threat: PrivilegeDrift, Severity: Medium,
		Normal: "a change of duties, said by `stakeout agents reanchor` or by a config.change event",
		ASI:    []string{"ASI03", "ASI10"}, ATLAS: []string{"AML.T0053"}}
}

// Judge implements [Detector]. It asks once a day, of the first event of the next, and pays
// for that also where nothing speaks for a drift: else it would choose by the answer what it pays for.
func (d SlowDrift) Judge(v View) Test {
	a := &v.Profile.anchors
	if !a.due(v.Event.Time) {
		return Test{}
	}
	p, _ := a.test(v.Event.Time)
	return Test{P: p}
}

// Explain implements [Detector].
func (d SlowDrift) Explain(v View) Claim {
	a := &v.Profile.anchors
	_, i := a.test(v.Event.Time)
	s := &a.of[i]
	up, down := s.next(i)
	now, was := float64(s.sum)/float64(s.n), float64(s.mean)
	c := Claim{
		Reason:   fmt.Sprintf("%s has slowly moved away from its first fortnight: what its model writes is no longer as long", v.Event.Agent),
		Observed: fmt.Sprintf("%.0f tokens or bytes in the middle of the last day's %d texts (evidence %.1f nats over the days)", math.Exp2(now)-1, s.n, max(up, down)),
		Baseline: fmt.Sprintf("%.0f in the middle of its first fortnight, about %d a day; confirm a change by `stakeout agents reanchor`", math.Exp2(was)-1, s.typical),
	}
	if i == gravity {
		c.Reason = fmt.Sprintf("%s has slowly moved away from its first fortnight: privileges of high impact are another part of what it exercises", v.Event.Agent)
		c.Observed = fmt.Sprintf("%.1f%% of the last day's %d uses are of high impact (evidence %.1f nats over the days)", 100*now, s.n, max(up, down))
		c.Baseline = fmt.Sprintf("%.1f%% in its first fortnight, about %d uses a day; confirm a change by `stakeout agents reanchor`", 100*was, s.typical)
	}
	return c
}
