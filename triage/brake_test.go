package triage

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

func (w *world) operate(by *command.Signer, d command.Decision, k command.Kind, tenant string) {
	w.Helper()
	w.send(w.js(local.OperatorRole))(command.EncodeApproval(by, command.Approval{Action: command.BrakeID(k, tenant), Decision: d, Kind: k, Tenant: tenant,
		Why: "looked at them", Time: event.At(time.Now().Add(time.Duration(w.ahead.Load())))}))
}

// braking suspends whoever is found, three in an hour and two of one tenant.
func braking(w *world, approvers ...string) Policy {
	return Policy{
		Budgets: map[command.Kind]Budget{command.Suspend: {Max: 3, PerTenant: 2, Per: time.Hour}, command.Page: {Max: 100, Per: time.Hour}},
		Brake:   BrakePolicy{For: 2 * time.Hour, Approvers: approvers},
		Entries: []Entry{{Name: "suspend", Ladder: []Step{{Kind: command.Suspend, Mode: command.Auto, Lease: 24 * time.Hour}}}},
	}
}

func (w *world) findingOf(tenant, agent string) detect.Finding {
	f := w.finding(agent, 1)
	f.Tenant = tenant
	return f
}

func TestBrakeTurnsAutoIntoApprove(t *testing.T) {
	w := newWorld(t)
	w.policy = braking(w, w.nats.SigningKey(local.OperatorRole))
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	for i := range 6 { // of tenants of their own
		w.must(w.feed(tr, w.findingOf(fmt.Sprint("t", i), fmt.Sprint("a", i))))
	}
	for i, want := range []string{"commanded verified", "commanded verified", "commanded verified", "waiting", "waiting", "waiting"} {
		w.wantStatuses(command.Suspend, fmt.Sprint("a", i), want)
	}
	w.wantStatuses(command.Page, "a3", "commanded verified")
	if got := w.history().reasons(command.Page); !strings.Contains(got, "because the brake is on until") || !strings.Contains(got, "the budget of 3 per 1h0m0s is exhausted") {
		t.Errorf("pages say %q", got)
	}
	w.wantCount(tr.metrics.brakes, "tripped", 1)
	if p := w.posture("a3"); p.Standing != command.Watched {
		t.Errorf("while it waits a3 is %s, want watched", p.Standing)
	}

	// A person may let one go without taking the brake off.
	w.send(w.js(local.OperatorRole))(command.EncodeApproval(w.signer(local.OperatorRole), command.Approval{Action: w.only(command.Suspend, "a3").ID, Decision: command.Approved, Why: "really"}))
	w.wantStatuses(command.Suspend, "a3", "waiting commanded verified")

	// Not everybody can take it off, and what was said before it went on does not count.
	w.operate(w.signer(local.ExecutorRole), command.Release, command.Suspend, "")
	w.wantCount(tr.metrics.approvals, "refused", 1)
	w.send(w.js(local.OperatorRole))(command.EncodeApproval(w.signer(local.OperatorRole), command.Approval{Action: command.BrakeID(command.Suspend, ""), Decision: command.Release,
		Kind: command.Suspend, Time: event.At(time.Now().Add(-time.Minute))}))
	w.wantCount(tr.metrics.approvals, "late", 1)
	w.must(w.feed(tr, w.findingOf("t6", "a6")))
	w.wantStatuses(command.Suspend, "a6", "waiting")

	w.operate(w.signer(local.OperatorRole), command.Release, command.Suspend, "")
	w.wantCount(tr.metrics.approvals, "released", 1)
	w.must(w.feed(tr, w.findingOf("t7", "a7")))
	w.wantStatuses(command.Suspend, "a7", "commanded verified")
	w.wantOnce()
}

// TestBrakeReleasesItself asks once more for what waited when the time is over.
func TestBrakeReleasesItself(t *testing.T) {
	w := newWorld(t)
	w.policy = braking(w)
	tr := w.triage()
	w.run(tr.Run)
	for i := range 4 {
		w.must(w.feed(tr, w.findingOf("", fmt.Sprint("a", i))))
	}
	w.wantStatuses(command.Suspend, "a3", "held") // nobody is named who may approve
	w.ahead.Store(int64(61 * time.Minute))        // the window has moved, the brake is still on
	w.must(w.feed(tr, w.findingOf("", "a4")))
	w.wantStatuses(command.Suspend, "a4", "held")
	w.ahead.Store(int64(3*time.Hour + 2*time.Minute))
	again := w.finding("a3", 2)
	w.must(w.feed(tr, again))
	w.wantStatuses(command.Suspend, "a3", "held commanded verified")
}

// TestBrakedActionGoesLater lets one wait in vain, and the agent go on when the brake is off.
func TestBrakedActionGoesLater(t *testing.T) {
	w := newWorld(t)
	w.policy = braking(w, w.nats.SigningKey(local.OperatorRole))
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	for i := range 4 {
		w.must(w.feed(tr, w.findingOf("", fmt.Sprint("a", i))))
	}
	w.wantStatuses(command.Suspend, "a3", "waiting")
	w.wantStatuses(command.Page, "a3", "commanded verified")
	w.ahead.Store(int64(16 * time.Minute))
	w.wantStatuses(command.Suspend, "a3", "waiting expired")
	w.operate(w.signer(local.OperatorRole), command.Release, command.Suspend, "")
	w.wantCount(tr.metrics.brakes, "released", 1)
	w.must(w.feed(tr, w.finding("a3", 2)))
	w.wantStatuses(command.Suspend, "a3", "waiting expired commanded verified")
	w.wantOnce()
}

func TestTenantBudget(t *testing.T) {
	w := newWorld(t)
	w.policy = braking(w)
	tr := w.triage()
	w.run(tr.Run)
	for i := range 5 {
		w.must(w.feed(tr, w.findingOf("noisy", fmt.Sprint("n", i))))
	}
	w.wantStatuses(command.Suspend, "n1", "commanded verified")
	w.wantStatuses(command.Suspend, "n2", "held")
	if got := w.history().details(command.Suspend, "n4"); !strings.Contains(got, "the brake is on") || !strings.Contains(got, "for tenant noisy") {
		t.Errorf("n4 is held because %q", got)
	}
	w.must(w.feed(tr, w.findingOf("quiet", "q"))) // has its own, and the fleet's is not used up
	w.wantStatuses(command.Suspend, "q", "commanded verified")
	w.must(w.feed(tr, w.findingOf("late", "l")))
	w.wantStatuses(command.Suspend, "l", "held")
}

// TestOperatorPullsBrake stops everything for everybody, or for one tenant.
func TestOperatorPullsBrake(t *testing.T) {
	w := newWorld(t)
	w.policy = braking(w)
	tr := w.triage()
	w.run(tr.Run)
	op := w.signer(local.OperatorRole)
	w.operate(op, command.Pull, "", "acme")
	w.wantCount(tr.metrics.approvals, "pulled", 1)
	w.must(w.feed(tr, w.findingOf("acme", "a"), w.findingOf("other", "b")))
	w.wantStatuses(command.Suspend, "a", "held")
	w.wantStatuses(command.Suspend, "b", "commanded verified")
	w.operate(op, command.Pull, "", "")
	w.wantCount(tr.metrics.approvals, "pulled", 2)
	w.operate(op, command.Pull, "", "")
	w.ahead.Store(int64(40 * 24 * time.Hour)) // it does not release itself
	w.must(w.feed(tr, w.findingOf("other", "c")))
	w.wantStatuses(command.Suspend, "c", "held")
	if got := w.history().details(command.Suspend, "c"); !strings.Contains(got, "until an operator releases it: looked at them") {
		t.Errorf("c is held because %q", got)
	}
	w.operate(op, command.Release, "", "")
	w.wantCount(tr.metrics.approvals, "released", 1)
	w.must(w.feed(tr, w.findingOf("other", "d")))
	w.wantStatuses(command.Suspend, "d", "commanded verified")
	kv, err := w.js(local.OperatorRole).KeyValue(context.Background(), command.ActionBucket)
	w.must(err)
	keys, err := kv.ListKeysFiltered(context.Background(), command.BrakePrefix+">")
	w.must(err)
	n := 0
	for range keys.Keys() {
		n++
	}
	if n != 2 {
		t.Errorf("an operator sees %d brakes, want 2", n)
	}
}

// TestCrashAtBrake ends triage at each point on the way through the brake.
func TestCrashAtBrake(t *testing.T) {
	w := newWorld(t)
	w.policy = braking(w)
	w.policy.Budgets[command.Suspend] = Budget{Max: 1, Per: time.Hour}
	tr := w.triage()
	w.must(w.feed(tr, w.finding("a", 1)))
	for i := range 2 { // the first time the brake goes on, the second time it is on
		second := w.finding(fmt.Sprint("b", i), 1)
		stopped := false
		tr.at = func(p string) error {
			if p == "brake" || p == "record" && i == 1 {
				stopped = true
				return fmt.Errorf("stopped at %s", p)
			}
			return nil
		}
		if err := w.feed(tr, second); err == nil || !stopped {
			t.Fatalf("triage did not stop: %v", err)
		}
		tr.at = func(string) error { return nil }
		w.must(w.feed(tr, second))
		w.wantStatuses(command.Suspend, second.Agent, "held")
	}
	w.wantCount(tr.metrics.brakes, "tripped", 1)
	w.wantOnce()
}
