package posture

import (
	"slices"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// A Call is what an agent is about to do, as far as an enforcement point knows it.
type Call struct {
	Effect   event.Effect
	Tool     string
	Scopes   []string // that the call makes use of
	Session  string
	Approved bool // a person has approved this very call
}

// Permits reports whether the agent may make the call, and why not.
func (d Decision) Permits(c Call) (bool, string) {
	if !d.Allows(c.Effect) {
		return false, "agent is " + string(d.Standing)
	}
	for _, l := range d.Limits {
		switch {
		case l.Session != "" && l.Session == c.Session:
			return false, "session is terminated"
		case c.Tool != "" && matches(l.Tools, c.Tool):
			return false, "tool is blocked"
		case len(l.Tools) > 0 && c.Tool == "" && c.Effect.Changes():
			return false, "tool is not named, and some are blocked"
		case len(l.Scopes) > 0 && slices.ContainsFunc(c.Scopes, func(s string) bool { return !matches(l.Scopes, s) }):
			return false, "scope is taken away"
		case len(l.Scopes) > 0 && len(c.Scopes) == 0 && c.Effect.Changes():
			return false, "scope is not named, and not all are left"
		case l.Approval && c.Effect.Changes() && !c.Approved:
			return false, "a person has to approve it"
		}
	}
	return true, ""
}

// matches reports whether one of the globs matches s, in which a star stands for
// anything.
func matches(globs []string, s string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return command.Glob(g, s) })
}
