package detect

import (
	"fmt"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Dormant finds an agent that does with effect, and unasked, what it has not done for
// long by its own rhythm: exercises a privilege, uses a credential, hands work to a
// delegate, or acts at all.
type Dormant struct{ Prior Prior }

// About implements [Detector].
func (d Dormant) About() About {
	return About{Slot: 12, Name: "dormant", Threat: PrivilegeDrift, Severity: Medium,
		Normal: "the user asks for the effect, or the agent does it again by its rhythm; what is not needed any more is better withdrawn",
		ASI:    []string{"ASI03"}, ATLAS: []string{"AML.T0012", "AML.T0053"}}
}

func (d Dormant) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every event that does something with effect.
func (d Dormant) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.ask(rests, d.Prior)
}

// rest asks whether an event does what the agent has not done for long. One thing that
// rested is enough; all are remembered.
func rest(v View) occasion {
	all, n := things(v.Event)
	if n == 0 {
		return occasion{}
	}
	o := occasion{trial: true, item: 1}
	if wanted(v) {
		return o
	}
	for _, t := range all[:n] {
		if _, _, odd := v.Profile.rhythms.rested(t, v.Event.Time); odd {
			o.odd = true
			break
		}
	}
	return o
}

// Explain implements [Detector].
func (d Dormant) Explain(v View) Claim {
	ev, p := v.Event, v.Profile
	h := p.habit(rests)
	all, n := things(ev)
	for _, t := range all[:n] {
		r, days, odd := p.rhythms.rested(t, ev.Time)
		if !odd {
			continue
		}
		what, unit := "", "days at work"
		switch t.kind {
		case exercising:
			what = "exercised " + t.name
		case calling:
			what = "called " + t.name
		case holding:
			what = "acted with credential " + t.name
		case handing:
			what = "handed work to " + t.name
		default:
			what, unit = "acted", "days"
		}
		c := Claim{
			Reason:   fmt.Sprintf("%s %s for the first time in %d %s", ev.Agent, what, days, unit),
			Observed: fmt.Sprintf("%s%s, effect %s; not asked for by the user as far as is known; last done %d %s ago", what, by(ev), effectText(ev.Effect), days, unit),
			Baseline: fmt.Sprintf("before, on %d of %d %s: the chance of so long a rest is %.1g; %d deeds since %s, %.1f after long rests", r.times, int(r.over)+1, unit, p.rhythms.chance(r, days), h.trials, p.first.Time().Format("2006-01-02"), h.surprises),
		}
		return c
	}
	return Claim{}
}

// effectText names an effect, or says that there is none told.
func effectText(e event.Effect) string {
	if e == "" {
		return "not told"
	}
	return string(e)
}
