package triage

import (
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// A Climb says when an agent that repeats itself gets the next step of a ladder
// instead of the first one. Who is quiet comes down by itself: what lies longer
// ago than Within counts no more, and risk decays.
type Climb struct {
	Repeats int           `yaml:"repeats"` // so many events that findings are about are one step; zero: none
	Within  time.Duration `yaml:"within"`
}

// rung is the step of the ladder at which an agent is met that f is about: the
// highest that its risk or its repeating itself has earned.
func (e Entry) rung(score float64, own *risk, f *detect.Finding) int {
	n := 0
	if e.Climb.Repeats > 0 {
		n = (own.repeats(e.Name, f, e.Climb.Within) - 1) / e.Climb.Repeats
	}
	for i, s := range e.Ladder {
		if s.AtRisk > 0 && score >= s.AtRisk {
			n = max(n, i)
		}
	}
	return min(n, len(e.Ladder)-1)
}

// limits is what a step about f denies beyond a standing.
func (s Step) limits(f *detect.Finding) *command.Limits {
	switch s.Kind {
	case command.RequireApproval:
		return &command.Limits{Approval: true}
	case command.BlockTool:
		if len(s.Tools) > 0 {
			return &command.Limits{Tools: s.Tools}
		}
		return &command.Limits{Tools: entities(f, detect.ToolEntity)}
	case command.NarrowScopes:
		return &command.Limits{Scopes: s.Scopes}
	case command.TerminateSession:
		return &command.Limits{Session: f.Session}
	}
	return nil
}

// limitsOf is the same where a step follows from another one, whose finding is
// not at hand any more: a tool that only the finding names is unknown then.
func (s Step) limitsOf(a command.Action) *command.Limits {
	f := detect.Finding{Session: a.Target.Session}
	if a.Limits != nil {
		for _, tool := range a.Limits.Tools {
			f.Entities = append(f.Entities, detect.Entity{Kind: detect.ToolEntity, Name: tool})
		}
	}
	return s.limits(&f)
}

// lacks says what an action would need to know and does not; empty if nothing.
func lacks(a command.Action) string {
	switch {
	case a.Kind == command.RevokeToken && a.Target.Credential == "":
		return "credential that could be revoked"
	case a.Kind == command.BlockTool && (a.Limits == nil || len(a.Limits.Tools) == 0):
		return "tool that could be blocked"
	case a.Kind == command.TerminateSession && a.Target.Session == "":
		return "session that could be terminated"
	case a.Kind == command.QuarantineMemory && a.Target.Memory == "":
		return "memory record that could be quarantined"
	}
	return ""
}

// entities lists the names of a kind that f is about.
func entities(f *detect.Finding, k detect.EntityKind) []string {
	var names []string
	for _, e := range f.Entities {
		if e.Kind == k && e.Name != "" && len(e.Name) <= maxName {
			names = append(names, e.Name)
		}
	}
	return names
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

func (v *problems) climb(path string, e Entry) {
	if c := e.Climb; c.Repeats != 0 || c.Within != 0 {
		if c.Repeats < 1 || c.Repeats*len(e.Ladder) > maxHistory {
			v.add("%s.climb.repeats: is %d, want 1 or more, and all steps within %d findings", path, c.Repeats, maxHistory)
		}
		v.atLeast(path+".climb.within", c.Within, time.Second)
	}
	before := 0.0
	for i, s := range e.Ladder {
		switch {
		case s.AtRisk == 0:
		case !(s.AtRisk > before && s.AtRisk < 100) || i == 0:
			v.add("%s.ladder[%d].at_risk: is %g, want more than those before it and less than 100, and none for the first step", path, i, s.AtRisk)
		default:
			before = s.AtRisk
		}
	}
	for i, s := range e.Also {
		if s.AtRisk != 0 {
			v.add("%s.also[%d].at_risk: is %g, but this step is taken at once", path, i, s.AtRisk)
		}
	}
}

func (v *problems) narrow(path string, s Step) {
	v.globs(path+".tools", s.Tools)
	v.globs(path+".scopes", s.Scopes)
	if n := len(s.Tools) + len(s.Scopes); n > maxNarrow {
		v.add("%s: names %d tools and scopes, want at most %d", path, n, maxNarrow)
	}
	if len(s.Tools) > 0 && s.Kind != command.BlockTool {
		v.add("%s.tools: is set, but the kind is %s", path, s.Kind)
	}
	if (len(s.Scopes) > 0) != (s.Kind == command.NarrowScopes) {
		v.add("%s.scopes: has %d globs for a %s, want those that are left for narrow_scopes, and none for others", path, len(s.Scopes), s.Kind)
	}
}

// maxNarrow bounds what every posture and every message about it carries.
const maxNarrow = 32
