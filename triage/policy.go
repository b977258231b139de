package triage

import (
	"errors"
	"fmt"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// A Policy decides what is done about a finding, and how far by itself. It is a
// value: nothing in it changes while it is in force.
type Policy struct {
	// KillSwitch turns every action into shadow: recorded, not done. It is the
	// brake for the whole fleet, and it brakes pages too.
	KillSwitch bool `yaml:"kill_switch"`

	// MaxAge is how old the event of a finding may be when triage decides: about
	// an older one every action is shadow, so that reading old logs revokes
	// nothing today. Zero means one hour.
	MaxAge time.Duration `yaml:"max_age"`

	// Cooldown holds back a second containment of the same agent by the same kind
	// of action for so long. Zero means none.
	Cooldown time.Duration `yaml:"cooldown"`

	// PostureFor is how long an agent's posture stays after it was last set. Zero means 24 hours.
	PostureFor time.Duration `yaml:"posture_for"`

	// Protected lists globs of agents that are never contained automatically.
	Protected []string `yaml:"protected"`

	// Budgets bound the blast radius: how many actions of a kind are commanded
	// for the whole fleet in a sliding window. Pages have one even if none is set.
	Budgets map[command.Kind]Budget `yaml:"budgets"`

	// AutoRequires says what must be so before something is taken away from an
	// agent automatically: nothing, or [TrustedTelemetry].
	AutoRequires string    `yaml:"auto_requires"`
	Trusted      []Trusted `yaml:"trusted_telemetry"`

	// Brake stops what goes by itself when a budget is exhausted.
	Brake BrakePolicy `yaml:"brake"`

	// Risk says when an agent's risk is medium or high.
	Risk RiskPolicy `yaml:"risk"`

	// Entries are asked in order; the first that matches a finding answers it.
	Entries []Entry `yaml:"policies"`
}

// A Budget is so many actions in so long.
type Budget struct {
	Max       int           `yaml:"max"`
	PerTenant int           `yaml:"per_tenant"` // of these, for the agents of one tenant; zero: as many
	Per       time.Duration `yaml:"per"`
}

// An Entry answers the findings it matches with a ladder: the first step is
// taken at once, or the one that the agent has climbed to, and each next one when
// the step before was not verified. Steps of Also are taken at once too, each by
// itself; where one is not verified, a page follows.
type Entry struct {
	Name   string `yaml:"name"`
	Match  Match  `yaml:"match"`
	Ladder []Step `yaml:"ladder"`
	Climb  Climb  `yaml:"climb"`
	Also   []Step `yaml:"also"`
}

// A Match selects findings; an empty list or zero selects all.
type Match struct {
	Threats     []string `yaml:"threats"`
	MinSeverity Severity `yaml:"min_severity"`
	Agents      []string `yaml:"agents"`  // globs
	Roles       []string `yaml:"roles"`   // globs
	Tenants     []string `yaml:"tenants"` // globs
}

// A Step is one kind of action and how it is taken.
type Step struct {
	Kind command.Kind `yaml:"kind" json:"kind"`
	Mode command.Mode `yaml:"mode" json:"mode"`

	// Expires is how long an approval may take, and then how long the command
	// stays valid. Zero means 15 minutes.
	Expires time.Duration `yaml:"expires" json:"expires,omitempty"`

	// AckTimeout is how long an executor may take to answer. Zero means 30 seconds.
	AckTimeout time.Duration `yaml:"ack_timeout" json:"ack_timeout,omitempty"`

	// Retries is how often an unanswered command is sent again.
	Retries int `yaml:"retries" json:"retries,omitempty"`

	// EscalateAfter is when a person is paged because an action waits for
	// approval. Zero means at once.
	EscalateAfter time.Duration `yaml:"escalate_after" json:"escalate_after,omitempty"`

	// Lease is after how long the action is undone. Zero means never, but a
	// posture ends after PostureFor in any case. What an executor carried out has no undo.
	Lease time.Duration `yaml:"lease" json:"lease,omitempty"`

	// AtRisk is the risk from which an agent is met by this step of a ladder
	// and not by one before it. Zero means by no risk.
	AtRisk float64 `yaml:"at_risk" json:"at_risk,omitempty"`

	Tools  []string `yaml:"tools" json:"tools,omitempty"`   // globs of what block_tool blocks; none: the tool of the finding
	Scopes []string `yaml:"scopes" json:"scopes,omitempty"` // globs of what narrow_scopes leaves

	// Approvers are the public signing keys of those who may approve, and undo.
	Approvers []string `yaml:"approvers" json:"approvers,omitempty"`

	// Quorum is how many of them have to approve; one rejection is enough. Zero means one.
	Quorum int `yaml:"quorum" json:"quorum,omitempty"`
}

// Severity is a [detect.Severity] that is written as a word.
type Severity detect.Severity

// MarshalText writes the word; none is empty.
func (s Severity) MarshalText() ([]byte, error) {
	if s == 0 {
		return nil, nil
	}
	return []byte(detect.Severity(s).String()), nil
}

// UnmarshalText reads a word.
func (s *Severity) UnmarshalText(b []byte) error {
	for v := detect.Informational; v <= detect.Critical; v++ {
		if string(b) == v.String() {
			*s = Severity(v)
			return nil
		}
	}
	return fmt.Errorf("severity is %.40q, want informational, low, medium, high or critical", b)
}

// DefaultPolicy records what it would do and does nothing.
func DefaultPolicy() Policy {
	return Policy{
		MaxAge:     time.Hour,
		Cooldown:   10 * time.Minute,
		PostureFor: 24 * time.Hour,
		Budgets: map[command.Kind]Budget{
			command.RevokeToken: {Max: 10, Per: time.Hour},
			command.Page:        {Max: 30, Per: time.Hour},
		},
		Entries: []Entry{
			{Name: "contain", Match: Match{MinSeverity: Severity(detect.High)}, Ladder: []Step{
				{Kind: command.RevokeToken, Mode: command.Shadow},
				{Kind: command.Page, Mode: command.Shadow},
			}},
			{Name: "tell", Match: Match{MinSeverity: Severity(detect.Medium)}, Ladder: []Step{
				{Kind: command.Page, Mode: command.Shadow},
			}},
		},
	}
}

// match returns the first entry that answers f.
func (p Policy) match(f *detect.Finding) (Entry, bool) {
	for _, e := range p.Entries {
		if e.Match.selects(f) {
			return e, true
		}
	}
	return Entry{}, false
}

func (m Match) selects(f *detect.Finding) bool {
	return f.Severity >= detect.Severity(m.MinSeverity) &&
		anyGlob(m.Threats, f.Threat) && anyGlob(m.Agents, f.Agent) &&
		anyGlob(m.Roles, f.Role) && anyGlob(m.Tenants, f.Tenant)
}

// protects reports whether the agent must not be contained automatically.
func (p Policy) protects(agent string) bool {
	return len(p.Protected) > 0 && anyGlob(p.Protected, agent)
}

func (p Policy) budget(k command.Kind) (Budget, bool) {
	b, ok := p.Budgets[k]
	switch {
	case ok:
		return b, true
	case k == command.Page:
		return Budget{Max: 30, Per: time.Hour}, true
	case k == command.Notify || k == command.Ticket || k == command.Resolve || k == command.RiskChange:
		return Budget{Max: maxBudget, Per: time.Hour}, true
	}
	return Budget{}, false
}

func (p Policy) maxAge() time.Duration     { return orElse(p.MaxAge, time.Hour) }
func (p Policy) postureFor() time.Duration { return orElse(p.PostureFor, 24*time.Hour) }
func (s Step) expires() time.Duration      { return orElse(s.Expires, 15*time.Minute) }
func (s Step) quorum() int                 { return max(s.Quorum, 1) }
func (s Step) ackTimeout() time.Duration   { return orElse(s.AckTimeout, 30*time.Second) }

func orElse(d, other time.Duration) time.Duration {
	if d == 0 {
		return other
	}
	return d
}

// anyGlob reports whether one of the globs matches s; no globs match everything.
func anyGlob(globs []string, s string) bool {
	for _, g := range globs {
		if command.Glob(g, s) {
			return true
		}
	}
	return len(globs) == 0
}

// Validate lists every problem of p, each under the path of the value it is about.
func (p Policy) Validate() error {
	var v problems
	v.atLeast("max_age", p.MaxAge, 0)
	v.atLeast("cooldown", p.Cooldown, 0)
	v.atLeast("posture_for", p.PostureFor, 0)
	v.globs("protected", p.Protected)
	for _, k := range sortedKinds(p.Budgets) {
		path := "budgets." + string(k)
		if !known(k) || k == command.Watch {
			v.add("%s: is not a kind with a budget, want %s", path, kindNames(Kinds()[1:]))
		}
		if b := p.Budgets[k]; b.Max < 1 || b.Max > maxBudget {
			v.add("%s.max: is %d, want 1 to %d", path, b.Max, maxBudget)
		}
		if b := p.Budgets[k]; b.PerTenant < 0 || b.PerTenant > b.Max {
			v.add("%s.per_tenant: is %d, want 0 to %d", path, b.PerTenant, b.Max)
		}
		v.atLeast(path+".per", p.Budgets[k].Per, time.Second)
	}
	v.risk(p.Risk)
	v.brake(p.Brake)
	v.trust(p)
	if len(p.Entries) == 0 {
		v.add("policies: is empty, want one or more")
	}
	names := map[string]int{}
	for i, e := range p.Entries {
		path := fmt.Sprintf("policies[%d]", i)
		switch first, ok := names[e.Name]; {
		case e.Name == "" || len(e.Name) > 128:
			v.add("%s.name: is %.40q, want 1 to 128 bytes", path, e.Name)
		case ok:
			v.add("%s.name: is %q like policies[%d], want a name of its own", path, e.Name, first)
		default:
			names[e.Name] = i
		}
		v.entry(path, e, p)
	}
	return errors.Join(v...)
}
