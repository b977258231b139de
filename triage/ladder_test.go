package triage

import (
	"fmt"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

func graduated() Policy {
	return Policy{
		Budgets: map[command.Kind]Budget{command.RequireApproval: {Max: 100, Per: time.Hour}, command.BlockTool: {Max: 100, Per: time.Hour}, command.NarrowScopes: {Max: 100, Per: time.Hour},
			command.Suspend: {Max: 100, Per: time.Hour}, command.TerminateSession: {Max: 100, Per: time.Hour}},
		Entries: []Entry{{Name: "graduated", Climb: Climb{Repeats: 2, Within: 24 * time.Hour}, Ladder: []Step{
			{Kind: command.Watch, Mode: command.Auto, Lease: time.Hour},
			{Kind: command.BlockTool, Mode: command.Auto, Lease: time.Hour},
			{Kind: command.Suspend, Mode: command.Auto, Lease: 4 * time.Hour, AtRisk: 70},
		}}},
	}
}

// kinds lists what was done about an agent, in order.
func (h history) kinds(agent string) string {
	s := ""
	for _, o := range h.outcomes {
		if o.Action.Target.Agent == agent && o.Status == command.Verified {
			s += string(o.Action.Kind) + " "
		}
	}
	return s
}

func TestRepeatOffenderClimbs(t *testing.T) {
	w := newWorld(t)
	w.policy = graduated()
	tr := w.triage()
	w.run(tr.Run)
	found := func(n int, p float64) {
		t.Helper()
		f := w.finding("a", n)
		f.Event, f.PValue, f.Severity = fmt.Sprint("e", n), p, detect.Low
		f.Entities = []detect.Entity{{Kind: detect.ToolEntity, Name: "crm_export"}}
		w.must(w.feed(tr, f))
	}
	want := func(kinds string) {
		t.Helper()
		w.eventually(func() error {
			if got := w.history().kinds("a"); got != kinds {
				return fmt.Errorf("done are %q, want %q", got, kinds)
			}
			return nil
		})
	}
	found(1, .1)
	found(2, .1)
	want("watch ")
	found(3, .1)
	want("watch block_tool ")
	p := w.posture("a")
	if p.Standing != command.Watched || len(p.LimitsAt(event.At(time.Now()))) != 1 || p.LimitsAt(event.At(time.Now()))[0].Tools[0] != "crm_export" {
		t.Errorf("posture is %+v, want crm_export blocked", p)
	}
	w.ahead.Store(int64(25 * time.Hour)) // quiet for a day: leases have ended, and so has the memory of the ladder
	w.wantStanding("a", command.Normal)
	found(4, .1)
	want("watch block_tool watch ")
	w.wantOnce()
}

func TestRiskClimbs(t *testing.T) {
	w := newWorld(t)
	w.policy = graduated()
	tr := w.triage()
	w.run(tr.Run)
	for i := range 3 {
		f := w.finding("a", i)
		f.Event, f.Detector, f.PValue, f.Severity, f.ATLAS = "e", fmt.Sprint("d", i), 1e-9, detect.Critical, []string{[]string{"AML.T0053", "AML.T0080", "AML.T0086"}[i]}
		w.must(w.feed(tr, f)) // about one event, which is one offence
	}
	w.wantStanding("a", command.Contained)
	if got := w.history().kinds("a"); got != "watch suspend " {
		t.Errorf("done are %q, want watch, then suspend for the risk", got)
	}
	for _, o := range w.history().outcomes {
		if o.Action.Kind == command.Suspend && (o.Action.Risk == nil || o.Action.Risk.Score < 70 || o.Action.Step != 2) {
			t.Errorf("the suspension says risk %+v at step %d", o.Action.Risk, o.Action.Step)
		}
	}
}

// TestNarrowPostures reads back what each of the kinds denies.
func TestNarrowPostures(t *testing.T) {
	w := newWorld(t)
	w.policy = graduated()
	w.policy.Entries[0] = Entry{Name: "narrow", Ladder: []Step{{Kind: command.RequireApproval, Mode: command.Auto}},
		Also: []Step{{Kind: command.NarrowScopes, Mode: command.Auto, Scopes: []string{"crm:read"}}, {Kind: command.TerminateSession, Mode: command.Auto},
			{Kind: command.BlockTool, Mode: command.Auto, Tools: []string{"send_*"}}}}
	tr := w.triage()
	w.run(tr.Run)
	f := w.finding("a", 1)
	w.must(w.feed(tr, f))
	for kind, detail := range map[command.Kind]string{
		command.RequireApproval: "the posture reads watched, and what changes the world needs a person's approval", command.NarrowScopes: "the posture reads watched, and leaves crm:read",
		command.TerminateSession: "the posture reads watched, and session s-a is over", command.BlockTool: "the posture reads watched, and denies send_*",
	} {
		w.wantStatuses(kind, "a", "commanded verified")
		if got := w.history().details(kind, "a"); got != detail {
			t.Errorf("%s: %q, want %q", kind, got, detail)
		}
	}
	p := w.posture("a")
	if n := len(p.LimitsAt(event.At(time.Now()))); n != 4 {
		t.Errorf("%d limits, want 4", n)
	}
	// What a finding does not name cannot be taken away, and a person is told.
	g := w.finding("b", 1)
	g.Session = ""
	w.must(w.feed(tr, g))
	w.wantStatuses(command.TerminateSession, "b", "held")
	if got := w.history().details(command.TerminateSession, "b"); got != "the finding names no session that could be terminated" {
		t.Errorf("held because %q", got)
	}
}

func TestClimbValidate(t *testing.T) {
	f := func(want string, change func(*Policy)) {
		t.Helper()
		p := graduated()
		change(&p)
		wantProblem(t, p, want)
	}
	f("policies[0].climb.repeats: is 0", func(p *Policy) { p.Entries[0].Climb.Repeats = 0 })
	f("policies[0].climb.repeats: is 30", func(p *Policy) { p.Entries[0].Climb.Repeats = 30 })
	f("policies[0].climb.within: is 0s", func(p *Policy) { p.Entries[0].Climb.Within = 0 })
	f("policies[0].ladder[0].at_risk: is 5", func(p *Policy) { p.Entries[0].Ladder[0].AtRisk = 5 })
	f("policies[0].ladder[2].at_risk: is 10", func(p *Policy) { p.Entries[0].Ladder[1].AtRisk, p.Entries[0].Ladder[2].AtRisk = 20, 10 })
	f("policies[0].ladder[0].tools: is set", func(p *Policy) { p.Entries[0].Ladder[0].Tools = []string{"x"} })
	f("policies[0].ladder[0].scopes: has 0", func(p *Policy) { p.Entries[0].Ladder[0].Kind = command.NarrowScopes })
	f("budgets.suspend.per_tenant: is 101", func(p *Policy) { p.Budgets[command.Suspend] = Budget{Max: 100, PerTenant: 101, Per: time.Hour} })
	f("brake.for: is -1s", func(p *Policy) { p.Brake.For = -time.Second })
	f("brake.approvers[0]: is", func(p *Policy) { p.Brake.Approvers = []string{"me"} })
	f("risk: has medium at 80", func(p *Policy) { p.Risk.Medium = 80 })
	f("risk.criticality[0].factor: is 0", func(p *Policy) { p.Risk.Criticality = []Criticality{{}} })
}
