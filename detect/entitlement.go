package detect

import (
	"fmt"
	"strings"
)

// Entitlement finds an agent that exercises for a principal what the principal
// is not entitled to: the confused deputy.
type Entitlement struct{ Prior Prior }

// About implements [Detector].
func (d Entitlement) About() About {
	return About{Slot: 2, Name: "entitlement", Threat: ConfusedDeputy, Severity: High,
		Normal: "scopes of the principal (stakeout.principal.scopes) that cover the privilege",
		ASI:    []string{"ASI03", "ASI07"}, ATLAS: []string{"AML.T0053"}}
}

func (d Entitlement) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks where an event says both the privilege
// exercised and what the principal is entitled to. A privilege that the agent
// has long exercised beyond entitlement is its habit, and one that can do no
// harm, such as to read a dashboard open to all, is let pass.
func (d Entitlement) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.ask(breaches, d.Prior)
}

func breach(v View) occasion {
	ev := v.Event
	if ev.Privilege == "" || len(ev.PrincipalScopes) == 0 {
		return occasion{}
	}
	if covers(ev.PrincipalScopes, ev.Privilege) {
		return occasion{trial: true}
	}
	item := hash(ev.Privilege)
	return occasion{trial: true, item: item, odd: impactful(ev) && !v.Profile.habit(breaches).knows(item)}
}

// Explain implements [Detector].
func (d Entitlement) Explain(v View) Claim {
	ev, n := v.Event, v.Profile.habit(breaches)
	principal := ev.User
	if principal == "" {
		principal = "its principal"
	}
	return Claim{
		Reason:   fmt.Sprintf("%s exercised %s for %s, who is not entitled to it", ev.Agent, ev.Privilege, principal),
		Observed: fmt.Sprintf("%s%s for %s, entitled to %s", ev.Privilege, by(ev), principal, list(ev.PrincipalScopes)),
		Baseline: fmt.Sprintf("in %d uses with known entitlement, %.1f new privileges beyond it; %d known as habits", n.trials, n.surprises, n.known()),
	}
}

// covers reports whether scopes entitle to a privilege: by its name, by
// "resource:*", or by "*".
func covers(scopes []string, privilege string) bool {
	for _, s := range scopes {
		if s == privilege || s == "*" {
			return true
		}
		if prefix, ok := strings.CutSuffix(s, "*"); ok && strings.HasSuffix(prefix, ":") && strings.HasPrefix(privilege, prefix) {
			return true
		}
	}
	return false
}

// list joins the first few of many names.
func list(names []string) string {
	const most = 6
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
