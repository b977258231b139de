package triage

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

const (
	maxBudget = 1000 // the guard's record holds this many times
	maxLadder = 8
)

// problems collects what is wrong with a policy.
type problems []error

func (v *problems) add(format string, a ...any) { *v = append(*v, fmt.Errorf(format, a...)) }

func (v *problems) atLeast(path string, d, least time.Duration) {
	if d < least {
		v.add("%s: is %s, want %s or more", path, d, least)
	}
}

func (v *problems) globs(path string, globs []string) {
	for i, g := range globs {
		if g == "" || len(g) > 1024 {
			v.add("%s[%d]: is %.40q, want a glob of 1 to 1024 bytes", path, i, g)
		}
	}
}

func (v *problems) entry(path string, e Entry, p Policy) {
	v.globs(path+".match.threats", e.Match.Threats)
	v.globs(path+".match.agents", e.Match.Agents)
	v.globs(path+".match.roles", e.Match.Roles)
	v.globs(path+".match.tenants", e.Match.Tenants)
	if s := detect.Severity(e.Match.MinSeverity); s != 0 && (s < detect.Informational || s > detect.Critical) {
		v.add("%s.match.min_severity: is %d, want informational, low, medium, high or critical", path, s)
	}
	if n := len(e.Ladder); n == 0 || n > maxLadder {
		v.add("%s.ladder: has %d steps, want 1 to %d", path, n, maxLadder)
	}
	if n := len(e.Also); n > maxLadder {
		v.add("%s.also: has %d steps, want at most %d", path, n, maxLadder)
	}
	kinds := map[command.Kind]bool{}
	if len(e.Ladder) > 0 {
		kinds[e.Ladder[0].Kind] = true
	}
	for i, s := range e.Also {
		path := fmt.Sprintf("%s.also[%d]", path, i)
		v.step(path, s)
		v.budgeted(path, s, p)
		if kinds[s.Kind] {
			v.add("%s.kind: is %s, which is taken at once already", path, s.Kind)
		}
		kinds[s.Kind] = true
	}
	v.climb(path, e)
	acted := false
	for i, s := range e.Ladder {
		path := fmt.Sprintf("%s.ladder[%d]", path, i)
		v.step(path, s)
		v.budgeted(path, s, p)
		if s.Mode == command.Shadow && acted {
			v.add("%s.mode: is shadow after a step that acts, want auto or approve: an action that failed must not end in silence", path)
		}
		if s.Mode == command.Auto || s.Mode == command.Approve {
			acted = true
		}
	}
}

// budgeted asks for a budget where a step takes something away.
func (v *problems) budgeted(path string, s Step, p Policy) {
	if _, ok := p.budget(s.Kind); !ok && s.Kind.Contains() && s.Mode != command.Shadow {
		v.add("budgets.%s: is missing, want max and per: %s commands it", s.Kind, path)
	}
}

func (v *problems) step(path string, s Step) {
	if !known(s.Kind) {
		v.add("%s.kind: is %.40q, want %s", path, s.Kind, kindNames(Kinds()))
	}
	if s.Lease > 0 && s.Kind.Standing() == "" {
		v.add("%s.lease: is %s, but a %s has no undo, want 0s", path, s.Lease, s.Kind)
	}
	v.atLeast(path+".lease", s.Lease, 0)
	v.narrow(path, s)
	switch s.Mode {
	case command.Shadow, command.Auto:
		if len(s.Approvers) > 0 {
			v.add("%s.approvers: is set, but mode is %s", path, s.Mode)
		}
	case command.Approve:
		if !s.Kind.Contains() {
			v.add("%s.mode: is approve for %s, want auto: it takes nothing away", path, s.Kind)
		}
		if len(s.Approvers) == 0 {
			v.add("%s.approvers: is empty, want the public keys of those who may approve", path)
		}
		if s.EscalateAfter >= s.expires() {
			v.add("%s.escalate_after: is %s, want less than expires (%s)", path, s.EscalateAfter, s.expires())
		}
	default:
		v.add("%s.mode: is %.40q, want shadow, approve or auto", path, s.Mode)
	}
	if s.Quorum < 0 || s.Quorum > len(s.Approvers) {
		v.add("%s.quorum: is %d, want 0 to %d: so many are approvers", path, s.Quorum, len(s.Approvers))
	}
	for i, key := range s.Approvers {
		if slices.Contains(s.Approvers[:i], key) {
			v.add("%s.approvers[%d]: is %.80q again, want everybody once", path, i, key)
		}
		if !nkeys.IsValidPublicAccountKey(key) {
			v.add("%s.approvers[%d]: is %.80q, want a public nkey of type account (A...)", path, i, key)
		}
	}
	v.atLeast(path+".expires", s.Expires, 0)
	v.atLeast(path+".ack_timeout", s.AckTimeout, 0)
	v.atLeast(path+".escalate_after", s.EscalateAfter, 0)
	if s.Retries < 0 || s.Retries > 100 {
		v.add("%s.retries: is %d, want 0 to 100", path, s.Retries)
	}
}

// Kinds lists the kinds of action that a step may have.
func Kinds() []command.Kind {
	return []command.Kind{command.Watch, command.Notify, command.Page, command.Ticket, command.Signal, command.RequireApproval, command.BlockTool, command.NarrowScopes,
		command.TerminateSession, command.QuarantineMemory, command.Restrict, command.Suspend, command.RevokeToken}
}

func known(k command.Kind) bool { return slices.Contains(Kinds(), k) }

// kindNames lists the kinds for a message.
func kindNames(all []command.Kind) string {
	var b strings.Builder
	for i, k := range all {
		switch {
		case i == len(all)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(k))
	}
	return b.String()
}

func sortedKinds(m map[command.Kind]Budget) []command.Kind { return slices.Sorted(maps.Keys(m)) }
