package simulate

import (
	"slices"

	"github.com/stakeout-project/stakeout/ingest/event"
)

func canDelegate(a *agent, _ string) bool { return a.helper != nil && a.used != 0 }

// inherit delegates with everything that the delegator may do.
func (k *attack) inherit(t int64) int64 {
	d := k.open(k.agent, t)
	d.start(k.agent.person(1))
	d.cover(2, nil)
	d.delegate(k.agent.helper, k.agent.kit.scopes)
	d.say()
	d.end()
	return 0
}

func canEscalate(a *agent, _ string) bool { return a.kit.daily && a.issued >= 0 }

// escalate acts on a credential that is somebody else's, over, or more than it was.
func (k *attack) escalate(t int64) int64 {
	a, today := k.agent, int32(t/int64(day))
	text, cred := &k.run.text, a.daily(&k.run.text, today)
	switch k.label.Variant {
	case "foreign":
		owner := k.other(func(b *agent) bool { return b.kit.daily && b.issued == today })
		if owner == a {
			owner = k.other(func(b *agent) bool { return canEscalate(b, "") })
		}
		if owner == a {
			return 0 // there is nobody to take it from
		}
		cred = owner.daily(text, owner.issued)
	case "expired":
		date := today - 2
		for _, held := range [2]int32{a.issued, a.before} {
			if held >= 0 && int64(a.daily(text, held).expires) < t {
				date = held
				break
			}
		}
		cred = a.daily(text, date)
	default:
		cred.scopes = slices.Clone(cred.scopes)
		for _, scope := range []string{"iam:grant", "vault:read", "payments:approve", "db:dump"} {
			if !slices.Contains(cred.scopes, scope) {
				cred.scopes = append(cred.scopes, scope)
			}
		}
	}
	d := k.open(a, t)
	d.cred = cred
	d.start(a.person(2))
	d.cover(2+k.chance.below(2), nil)
	k.markAll(d, event.SessionStart, event.CredentialUse, event.CredentialIssue, event.ToolCall)
	d.say()
	d.end()
	return 0
}
