package triage

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// A risk is what was found of one agent lately, weighed. It is a function of the
// findings alone, by the times of their events: it comes out the same in whatever
// order they arrive, up to the last digits of the sums.
//
// With H the half-life, a finding contributes c = min(-ln p, 12) * severity to
// its detector's sum, which decays as 2^(-t/H). The sums, largest first, count
// 1/k^1.5, so that one noisy detector cannot dominate; distinct stages of an
// attack within a week multiply them by 1 + (stages-1)/2, and what the agent is
// trusted with by its criticality.
type risk struct {
	Agent  string             `json:"agent"`
	Role   string             `json:"role,omitempty"` // as the last finding said
	Tenant string             `json:"tenant,omitempty"`
	Parent string             `json:"parent,omitempty"`
	Time   event.Timestamp    `json:"time"`   // latest of an event; the sums are decayed to it
	Sums   map[string]float64 `json:"sums"`   // by detector
	Stages [stages]int32      `json:"stages"` // day of the latest finding of each stage, from 1970; 0: none
	Last   []counted          `json:"last"`   // findings that were counted, oldest first

	Level    command.RiskLevel `json:"level,omitempty"`    // that was told; empty is low
	Turns    int               `json:"turns,omitempty"`    // how often the level has changed
	Incident string            `json:"incident,omitempty"` // in which the risk has grown last
	Outbox   *proposal         `json:"outbox,omitempty"`   // the change of level that is being told
}

// counted is a finding that has been counted.
type counted struct {
	ID    string          `json:"id"`
	Event string          `json:"event,omitempty"` // that was judged
	Time  event.Timestamp `json:"time"`
	Entry string          `json:"entry,omitempty"` // name of the policy entry that answers it
}

const (
	maxEvidence   = 12.0 // nats of one finding that count
	maxDetectors  = 32   // whose sums are kept
	delegated     = "delegated"
	maxHops       = 3
	stagesWithin  = 7 // days
	stages        = 8
	passedUp      = 0.5 // of a contribution, to the agent that spawned the one it is about
	riskForgotten = 1e-3
)

// The stages of an attack that multiply the risk, as columns of [risk.Stages].
const (
	stageInitial = iota
	stageExecution
	stagePersistence
	stagePrivilege
	stageCredential
	stageLateral
	stageCollection
	stageImpact // and exfiltration
)

// stageOf finds the stage of a finding by the first of its ATLAS techniques that has one.
func stageOf(f *detect.Finding) (int, bool) {
	for _, technique := range f.ATLAS {
		parent := technique
		if len(parent) > len("AML.T0000") {
			parent = parent[:len("AML.T0000")]
		}
		switch parent {
		case "AML.T0051", "AML.T0054", "AML.T0093", "AML.T0010", "AML.T0011", "AML.T0104", "AML.T0109", "AML.T0110":
			return stageInitial, true
		case "AML.T0050", "AML.T0081", "AML.T0094", "AML.T0099":
			return stageExecution, true
		case "AML.T0061", "AML.T0070", "AML.T0071", "AML.T0080", "AML.T0092":
			return stagePersistence, true
		case "AML.T0012", "AML.T0053", "AML.T0105":
			return stagePrivilege, true
		case "AML.T0055", "AML.T0082", "AML.T0083", "AML.T0098", "AML.T0106":
			return stageCredential, true
		case "AML.T0073", "AML.T0091":
			return stageLateral, true
		case "AML.T0056", "AML.T0069", "AML.T0075", "AML.T0084", "AML.T0085":
			return stageCollection, true
		case "AML.T0025", "AML.T0029", "AML.T0034", "AML.T0046", "AML.T0048", "AML.T0057", "AML.T0077", "AML.T0086", "AML.T0101":
			return stageImpact, true
		}
	}
	return 0, false
}

// contribution is what f adds to the sum of its detector. Where f gives no
// p-value it is taken for as odd as the budget asked for, and no odder; what
// broke a rule or a verified stop has none, because nothing is odder.
func contribution(f *detect.Finding) float64 {
	p := f.PValue
	if p <= 0 || math.IsNaN(p) {
		p = f.Level
	}
	evidence := 1.0
	switch {
	case certain(f), ruled(f):
		evidence = maxEvidence
	case p > 0 && p <= 1:
		evidence = min(-math.Log(p), maxEvidence)
	}
	weight := map[detect.Severity]float64{detect.Informational: .5, detect.Low: .75, detect.Medium: 1, detect.High: 1.5, detect.Critical: 2}
	return evidence * weight[f.Severity]
}

// count takes f into the risk of the agent it is about, or, some hops up, of one
// that it was delegated by. It reports false for one that was counted before.
func (r *risk) count(f *detect.Finding, hops int, entry string) bool {
	if slices.ContainsFunc(r.Last, func(c counted) bool { return c.ID == f.ID }) {
		return false
	}
	by, c := f.Detector, contribution(f)
	if hops > 0 {
		by, c = delegated, c*math.Pow(passedUp, float64(hops))
	} else {
		r.Role, r.Tenant = cmp.Or(f.Role, r.Role), cmp.Or(f.Tenant, r.Tenant)
		if f.Parent != "" {
			r.Parent = f.Parent
		}
		if s, ok := stageOf(f); ok {
			r.Stages[s] = max(r.Stages[s], day(f.Time))
		}
	}
	if r.Sums == nil {
		r.Sums = map[string]float64{}
	}
	if f.Time > r.Time {
		for d, sum := range r.Sums {
			r.Sums[d] = sum * decay(r.Time, f.Time)
		}
		r.Time = f.Time
	}
	r.Sums[cut(by, maxID)] += c * decay(f.Time, r.Time)
	maps.DeleteFunc(r.Sums, func(_ string, sum float64) bool { return sum < riskForgotten })
	for len(r.Sums) > maxDetectors {
		delete(r.Sums, slices.MinFunc(slices.Sorted(maps.Keys(r.Sums)), func(a, b string) int { return cmp.Compare(r.Sums[a], r.Sums[b]) }))
	}
	r.Last = append(r.Last, counted{ID: f.ID, Event: cut(f.Event, maxID), Time: f.Time, Entry: entry})
	slices.SortStableFunc(r.Last, func(a, b counted) int { return cmp.Compare(a.Time, b.Time) })
	r.Last = r.Last[max(0, len(r.Last)-maxHistory):]
	return true
}

// day counts days of event time.
func day(t event.Timestamp) int32 { return int32(int64(t) / int64(24*time.Hour)) }

// decay is what is left at a time of something that counted 1 before.
func decay(from, to event.Timestamp) float64 {
	if from == 0 || to <= from {
		return 1
	}
	return math.Exp2(-float64(to.Sub(from)) / float64(command.RiskHalfLife))
}

// score is the risk at a time; what lies before the latest event is taken for that.
func (r *risk) score(p RiskPolicy, now event.Timestamp) command.Risk {
	now = max(now, r.Time)
	out := command.Risk{Score: command.RiskScore(r.sum(p, now)), Time: now}
	out.Level = p.level(out.Score)
	return out
}

func (r *risk) sum(p RiskPolicy, now event.Timestamp) float64 {
	sums := slices.Sorted(maps.Values(r.Sums))
	raw := 0.0
	for k, sum := range slices.Backward(sums) {
		raw += sum / math.Pow(float64(len(sums)-k), 1.5)
	}
	passed := 0
	for _, d := range r.Stages {
		if d != 0 && day(now)-d < stagesWithin {
			passed++
		}
	}
	return raw * decay(r.Time, now) * (1 + .5*float64(max(passed-1, 0))) * p.criticality(r)
}

// falls is when the level will be a lower one if nothing more is found; 0 for
// never. A stage that is forgotten earlier makes it earlier.
func (r *risk) falls(p RiskPolicy, now event.Timestamp) event.Timestamp {
	floor := 0.0
	switch p.level(r.score(p, now).Score) {
	case command.RiskHigh:
		floor = p.high()
	case command.RiskMedium:
		floor = p.medium()
	default:
		return 0
	}
	now = max(now, r.Time)
	halves := math.Log2(r.sum(p, now) / command.RiskSum(floor))
	at := now + event.Timestamp(halves*float64(command.RiskHalfLife)) + event.Timestamp(time.Millisecond)
	for _, d := range r.Stages {
		if end := event.Timestamp(int64(d+stagesWithin) * int64(24*time.Hour)); d != 0 && end > now {
			at = min(at, end)
		}
	}
	return at
}

// repeats is how many different events, findings about which the entry answers,
// lie within the time before f, with that of f itself.
func (r *risk) repeats(entry string, f *detect.Finding, within time.Duration) int {
	seen := map[string]bool{}
	for _, c := range r.Last {
		if c.Entry == entry && c.Time <= f.Time && f.Time.Sub(c.Time) < within {
			seen[cmp.Or(c.Event, c.ID)] = true
		}
	}
	return max(len(seen), 1)
}

// RiskPolicy says when a risk is medium or high, and which agents weigh more.
type RiskPolicy struct {
	Medium      float64       `yaml:"medium"`      // score from which the level is medium; zero means 40
	High        float64       `yaml:"high"`        // score from which the level is high; zero means 70
	Criticality []Criticality `yaml:"criticality"` // the first that matches an agent; others weigh 1
}

// A Criticality weighs the risk of the agents that it matches; an empty list matches all.
type Criticality struct {
	Agents  []string `yaml:"agents"`  // globs
	Roles   []string `yaml:"roles"`   // globs
	Tenants []string `yaml:"tenants"` // globs
	Factor  float64  `yaml:"factor"`
}

func (p RiskPolicy) medium() float64 { return cmp.Or(p.Medium, 40) }
func (p RiskPolicy) high() float64   { return cmp.Or(p.High, 70) }

func (p RiskPolicy) level(score float64) command.RiskLevel {
	switch {
	case score >= p.high():
		return command.RiskHigh
	case score >= p.medium():
		return command.RiskMedium
	}
	return command.RiskLow
}

func (p RiskPolicy) criticality(r *risk) float64 {
	for _, c := range p.Criticality {
		if anyGlob(c.Agents, r.Agent) && anyGlob(c.Roles, r.Role) && anyGlob(c.Tenants, r.Tenant) {
			return c.Factor
		}
	}
	return 1
}

func (v *problems) risk(p RiskPolicy) {
	if p.medium() <= 0 || p.high() >= 100 || p.medium() >= p.high() || math.IsNaN(p.medium()+p.high()) {
		v.add("risk: has medium at %g and high at %g, want 0 < medium < high < 100", p.medium(), p.high())
	}
	for i, c := range p.Criticality {
		v.globs(fmt.Sprintf("risk.criticality[%d]", i)+".agents", c.Agents)
		v.globs(fmt.Sprintf("risk.criticality[%d]", i)+".roles", c.Roles)
		v.globs(fmt.Sprintf("risk.criticality[%d]", i)+".tenants", c.Tenants)
		if !(c.Factor >= .1 && c.Factor <= 10) {
			v.add("%s.factor: is %g, want 0.1 to 10", fmt.Sprintf("risk.criticality[%d]", i), c.Factor)
		}
	}
}
