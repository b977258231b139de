package detect

import (
	"fmt"
	"strings"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// FirstUse finds an agent that exercises a privilege of high impact which it
// never exercised before, to an effect that nobody asked for as far as is known.
type FirstUse struct{ Prior Prior }

// About implements [Detector].
func (d FirstUse) About() About {
	return About{Slot: 0, Name: "first_use", Threat: PrivilegeDrift, Severity: High,
		Normal: "the user asks for the effect in the same session, or the agent goes on using it: `stakeout agents reanchor` says so at once",
		ASI:    []string{"ASI03"}, ATLAS: []string{"AML.T0053"}}
}

func (d FirstUse) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every event that exercises a privilege.
func (d FirstUse) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.ask(privilegesUsed, d.Prior)
}

func firstUse(v View) occasion {
	if v.Event.Privilege == "" {
		return occasion{}
	}
	item := hash(v.Event.Privilege)
	return occasion{trial: true, item: item, odd: impactful(v.Event) && !wanted(v) && !v.Profile.habit(privilegesUsed).knows(item)}
}

// Explain implements [Detector].
func (d FirstUse) Explain(v View) Claim {
	ev, p := v.Event, v.Profile
	return Claim{
		Reason:   fmt.Sprintf("%s exercised %s for the first time", ev.Agent, ev.Privilege),
		Observed: fmt.Sprintf("%s%s, never used before", ev.Privilege, by(ev)),
		Baseline: fmt.Sprintf("in %d uses since %s: %s", p.privileges.uses, p.first.Time().Format("2006-01-02"), p.privileges.describe()),
	}
}

// wanted reports whether the user asked for the event's effect. That somebody
// wanted something read says little about what.
func wanted(v View) bool {
	asked, known := v.Session.asked(v.Event.Effect)
	return known && asked && v.Event.Effect.Changes()
}

// impactful reports whether an event exercises a privilege that can do harm: one
// that changes the world beyond a note, or reaches what is restricted. Where the
// event says neither effect nor sensitivity, the privilege's verb decides.
func impactful(ev *event.Event) bool {
	if ev.Sensitivity == event.Restricted {
		return true
	}
	switch ev.Effect {
	case event.Read, event.Fetch:
		return false
	case event.Write:
		return ev.Sensitivity == event.Confidential
	case "":
		return ev.Sensitivity == "" && !readOnly(ev.Privilege)
	}
	return true
}

// readOnly reports whether the verb of a privilege only looks.
func readOnly(privilege string) bool {
	switch privilege[strings.LastIndexByte(privilege, ':')+1:] {
	case "read", "list", "get", "search", "view":
		return true
	}
	return false
}

// by says through which tool an event acted.
func by(ev *event.Event) string {
	if ev.Tool == "" {
		return ""
	}
	return " through " + ev.Tool
}
