package detect

import "fmt"

// Drift finds an agent whose mix of exercised privileges moves away from its own
// past, or creeps upward to those of high impact.
type Drift struct{}

// evaluateEvery is how many uses lie between two looks at the distribution.
const evaluateEvery = 32

// About implements [Detector].
func (d Drift) About() About {
	return About{Slot: 1, Name: "privilege_drift", Threat: PrivilegeDrift, Severity: Medium,
		Normal: "a change of duties: `stakeout agents reanchor` makes what the agent does now its baseline",
		ASI:    []string{"ASI03"}, ATLAS: []string{"AML.T0053"}}
}

// Judge implements [Detector]. It asks once in 32 uses.
func (d Drift) Judge(v View) Test {
	p := v.Profile
	if v.Event.Privilege == "" || !p.mature() || p.drifted || !p.privileges.due() {
		return Test{}
	}
	return Test{P: p.privileges.tail()}
}

// Explain implements [Detector].
func (d Drift) Explain(v View) Claim {
	h := &v.Profile.privileges
	up, moved := h.risen(), h.shift()
	return Claim{
		Reason:   fmt.Sprintf("%s exercises other privileges than it used to: %s most of all", v.Event.Agent, up.label()),
		Observed: fmt.Sprintf("%s is %.0f%% of the last hundred uses (G = %.1f at %d degrees of freedom, dispersion %.1f)", up.label(), 100*up.short.of(), moved.g, moved.df, h.dispersion),
		Baseline: fmt.Sprintf("%s is %.1f%% of the %d uses before; usual: %s", up.label(), 100*up.long, min(h.uses, longRun), h.describe()),
	}
}
