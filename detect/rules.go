package detect

import (
	"errors"
	"fmt"
	"slices"
)

// Rules are what the operator decides: the budget of false findings, and how
// detectors share it.
type Rules struct {
	Version   string  // names these rules in every finding made under them
	Budget    float64 // tolerable false findings per agent-day, over all detectors
	Detectors []Enabled
	Joint     []Joint // detectors that judge what several agents share: package entity
	BOM       *BOM    // the bill of materials that supply_chain holds agents against; nil for none
}

// Enabled is a detector with its part of the budget.
type Enabled struct {
	Detector
	Share float64 // of the budget, 0 to 1
}

// A Joint detector judges facts about what several agents share, instead of the
// events of one.
type Joint struct {
	Name  string
	Share float64 // of the budget, 0 to 1
	Prior Prior   // of surprises, in agent-days; none where the things themselves tell
}

// HasPrior reports whether the detector holds surprises against a prior.
func (j Joint) HasPrior() bool { return j.Name != CrowdDetector }

// The joint detectors.
const (
	ToolDefinitionDetector   = "tool_definition"
	SharedCredentialDetector = "shared_credential"
	RecordDetector           = "record"
	CrowdDetector            = "crowd"
	LineageDetector          = "lineage"
	LoneDeploymentDetector   = "lone_deployment"
)

// JointDetectors lists them.
func JointDetectors() []string {
	return []string{ToolDefinitionDetector, SharedCredentialDetector, RecordDetector, CrowdDetector, LineageDetector, LoneDeploymentDetector}
}

// DefaultRules returns the rules that hold where an operator has written none.
//
// The priors say that surprises are rare (one in 600 to 3,500 days of an agent, and in
// one of a hundred agents besides while it becomes e times as old) and that agents
// differ much: one surprise more makes the expected rate several times higher.
func DefaultRules() Rules {
	return Rules{Version: "default", Budget: 0.01, Detectors: []Enabled{
		{FirstUse{Prior{A: .05, B: 45, Youth: .01}}, .17},
		{Drift{}, .10},
		{Entitlement{Prior{A: .03, B: 45}}, .07},
		{Provenance{Prior{A: .05, B: 30, Youth: .01}}, .20},
		{Memory{Prior{A: .03, B: 45}}, .07},
		{SlowDrift{}, .04},
		{Inheritance{Prior{A: .02, B: 70}}, .03},
		{CredentialMisuse{Prior{A: .02, B: 70}}, .03},
		{SupplyChain{Prior{A: .02, B: 70}}, .03},
		{Telemetry{Prior{A: .02, B: 70}}, .03},
		{Exfiltration{Prior{A: .02, B: 100}}, .03},
		{Amplification{Prior{A: .02, B: 100}}, .04},
		{Beacon{Prior{A: .015, B: 100}}, .02},
		{Dormant{Prior{A: .015, B: 70}}, .02},
	}, Joint: []Joint{
		{ToolDefinitionDetector, .03, Prior{A: .02, B: 70}},
		{SharedCredentialDetector, .03, Prior{A: .02, B: 70}},
		{RecordDetector, .01, Prior{A: .006, B: 70}},
		{CrowdDetector, .01, Prior{}},
		{LineageDetector, .02, Prior{A: .006, B: 70}},
		{LoneDeploymentDetector, .02, Prior{A: .006, B: 70}},
	}}
}

// share is the share of the budget that a detector has, in false findings per
// agent-day; 0 where the rules leave it out.
func (r Rules) share(d Detector) float64 {
	for _, e := range r.Detectors {
		if e.About().Slot == d.About().Slot {
			return e.Share * r.Budget
		}
	}
	return 0
}

// Validate reports everything that makes r no rules.
func (r Rules) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !(r.Budget > 0 && r.Budget <= 100) {
		bad("budget: is %v, want more than 0 and at most 100 false findings per agent-day", r.Budget)
	}
	if n := len(r.Detectors); n == 0 || n > maxDetectors {
		bad("detectors: are %d, want 1 to %d", n, maxDetectors)
	}
	sum, seen := 0.0, map[string]bool{}
	for _, d := range r.Detectors {
		name := d.About().Name
		if seen[name] {
			bad("detectors.%s: stands twice", name)
		}
		seen[name] = true
		if slot := d.About().Slot; slot < 0 || slot >= maxDetectors {
			bad("detectors.%s: has slot %d, want 0 to %d", name, slot, maxDetectors-1)
		}
		if !(d.Share > 0 && d.Share <= 1) {
			bad("detectors.%s.share: is %v, want more than 0 and at most 1", name, d.Share)
		}
		sum += d.Share
		if p, ok := d.Detector.(interface{ prior() Prior }); ok && !p.prior().proper() {
			bad("detectors.%s.prior: is %v surprises in %v days, want more than 0 of both, and a youth of 0 or more", name, p.prior().A, p.prior().B)
		}
	}
	for _, d := range r.Joint {
		if seen[d.Name] {
			bad("detectors.%s: stands twice", d.Name)
		}
		seen[d.Name] = true
		if !slices.Contains(JointDetectors(), d.Name) {
			bad("detectors.%s: is no detector of what is shared, want one of %v", d.Name, JointDetectors())
		}
		if !(d.Share > 0 && d.Share <= 1) {
			bad("detectors.%s.share: is %v, want more than 0 and at most 1", d.Name, d.Share)
		}
		sum += d.Share
		if d.HasPrior() && !d.Prior.proper() {
			bad("detectors.%s.prior: is %v surprises in %v days, want more than 0 of both", d.Name, d.Prior.A, d.Prior.B)
		}
	}
	if r.BOM != nil {
		if !seen[SupplyChain{}.About().Name] {
			bad("bom: is there, but not the detector %s, which reads it", SupplyChain{}.About().Name)
		}
		errs = append(errs, r.BOM.problems()...)
	}
	if sum > 1+1e-9 {
		bad("detectors: shares sum to %.3g, want at most 1", sum)
	}
	return errors.Join(errs...)
}
