package triage

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// heard hands over a finding about an event that was read from a raw topic.
func (w *world) heard(tr *Triage, topic string, f detect.Finding) {
	w.Helper()
	value, err := json.Marshal(&f)
	w.must(err)
	r := stream.Record{Topic: "stakeout.findings", Key: []byte(f.Agent), Value: value}
	if topic != "" {
		r.Headers = []stream.Header{{Key: event.SourceHeader, Value: event.Source{Topic: topic, Partition: 3, Offset: 9}.AppendBinary(nil)},
			{Key: TrustHeader, Value: []byte(tr.policy.Load().TrustVersion())}}
	}
	w.must(feedRecords(tr, []stream.Record{r}))
}

// trusting suspends automatically only on the word of the payments team's shippers.
func trusting(w *world) Policy {
	p := braking(w)
	p.AutoRequires, p.Trusted = TrustedTelemetry, []Trusted{{Topics: []string{"raw.payments"}, Agents: []string{"payments-*"}}, {Topics: []string{"raw.crm.*"}, Tenants: []string{"acme"}}}
	p.Entries[0].Also = []Step{{Kind: command.Watch, Mode: command.Auto}}
	return p
}

// TestForgedTelemetryStopsNobody raises findings about a victim by a topic that
// may not speak for it.
func TestForgedTelemetryStopsNobody(t *testing.T) {
	w := newWorld(t)
	w.policy = trusting(w)
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	for i := range 3 {
		f := w.finding("payments-1", i)
		f.Severity, f.PValue = detect.Critical, 1e-9
		w.heard(tr, []string{"raw.crm.eu", "raw.anybody", ""}[i], f)
	}
	w.wantStatuses(command.Suspend, "payments-1", "held")
	w.wantStatuses(command.Page, "payments-1", "commanded verified")
	w.wantStanding("payments-1", command.Watched)
	if got := w.history().details(command.Suspend, "payments-1"); got != `the event came from "raw.crm.eu", which is not trusted to speak for the agent` {
		t.Errorf("held because %q", got)
	}
	if p := w.posture("payments-1"); p.Risk != nil && p.Risk.Score != 0 {
		t.Errorf("forged telemetry has raised the risk: %+v", p.Risk)
	}
	w.heard(tr, "raw.payments", w.finding("payments-1", 9)) // the same incident, on the word of who may speak for it
	w.wantStatuses(command.Suspend, "payments-1", "held commanded verified")

	crm := w.finding("clerk", 1)
	crm.Tenant = "acme"
	w.heard(tr, "raw.crm.eu", crm)
	w.wantStatuses(command.Suspend, "clerk", "commanded verified")
	w.heard(tr, "raw.crm.eu", w.finding("other", 1))
	w.wantStatuses(command.Suspend, "other", "held")
	w.wantOnce()
}

// TestMixedTelemetryStopsNobody has the event judged come from who may speak for the agent,
// and what it is judged by kept apart from nobody, or by a list that is no longer in force.
func TestMixedTelemetryStopsNobody(t *testing.T) {
	w := newWorld(t)
	w.policy = trusting(w)
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	source := stream.Header{Key: event.SourceHeader, Value: event.Source{Topic: "raw.payments", Partition: 3, Offset: 9}.AppendBinary(nil)}
	for i, version := range []string{"", "another list"} {
		r := w.record(w.finding("payments-1", i))
		r.Headers = []stream.Header{source, {Key: TrustHeader, Value: []byte(version)}}
		w.must(feedRecords(tr, []stream.Record{r}))
	}
	w.wantStatuses(command.Suspend, "payments-1", "held")
	w.wantStatuses(command.Page, "payments-1", "commanded verified")
	if got := w.history().details(command.Suspend, "payments-1"); !strings.HasPrefix(got, "detection does not keep apart what this policy does not trust") {
		t.Errorf("held because %q", got)
	}
	if p := w.posture("payments-1"); p.Risk != nil && p.Risk.Score != 0 {
		t.Errorf("mixed telemetry has raised the risk: %+v", p.Risk)
	}
	w.heard(tr, "raw.payments", w.finding("payments-1", 2))
	w.wantStatuses(command.Suspend, "payments-1", "held commanded verified")
	w.wantOnce()
}

// TestVerdictOnForgedFindings has somebody raise false findings about a victim, so that a person
// closes them as false: the true ones are acted on all the same, and no detector learns from it.
func TestVerdictOnForgedFindings(t *testing.T) {
	w := newWorld(t)
	w.policy = trusting(w)
	tr := w.triage()
	log := &decisions{ids: map[string]bool{}}
	tr.UseOperations(log.take)
	w.run(tr.Run)
	w.heard(tr, "raw.anybody", w.finding("payments-1", 1))
	op, id := w.signer(local.OperatorRole), w.history().cases[0].Incident.ID
	w.decideOn(op, command.Approval{Action: id, Decision: command.Close, Verdict: falsePositive, Why: "it never did that", Time: event.At(time.Now()), Until: event.At(time.Now().Add(time.Hour))})
	w.wantCount(tr.metrics.approvals, "close", 1)
	if s := w.history().suppressions()["payments-1"]; !s.Untrusted {
		t.Errorf("the suppression does not say that it is of what others told: %+v", s)
	}
	if all := log.list(); len(all) != 0 {
		t.Errorf("detection is told %q", all)
	}
	w.heard(tr, "raw.anybody", w.finding("payments-1", 2))
	w.wantStatuses(command.Suspend, "payments-1", "held") // of the first: the second is suppressed
	w.heard(tr, "raw.payments", w.finding("payments-1", 3))
	w.wantStatuses(command.Suspend, "payments-1", "held commanded verified")
	if n := testutil.ToFloat64(tr.metrics.suppressed); n != 1 {
		t.Errorf("%v findings are suppressed, want the second forged one", n)
	}
	w.wantOnce()
}

// TestUntrustedDoesNotClimbAround tries to reach the second step by the failure of a first that anybody may cause.
func TestUntrustedDoesNotClimbAround(t *testing.T) {
	w := newWorld(t)
	w.policy = trusting(w)
	w.policy.Brake.Approvers = []string{w.nats.SigningKey(local.OperatorRole)}
	w.policy.Entries[0] = Entry{Name: "notify", Ladder: []Step{{Kind: command.Notify, Mode: command.Auto, AckTimeout: 50 * time.Millisecond}, {Kind: command.Suspend, Mode: command.Auto}}}
	tr := w.triage()
	w.run(tr.Run)
	w.heard(tr, "raw.anybody", w.finding("payments-1", 1))
	w.wantStatuses(command.Notify, "payments-1", "commanded unverified")
	w.wantStatuses(command.Suspend, "payments-1", "waiting") // for one of those who may approve what the brake holds
}

// TestTrustIsOfThePolicyInForce has a policy that trusts everybody decide the first step, and one that
// does not the second: what detection kept apart by no list is not good enough for that.
func TestTrustIsOfThePolicyInForce(t *testing.T) {
	w := newWorld(t)
	strict := trusting(w)
	strict.Entries[0] = Entry{Name: "notify", Ladder: []Step{{Kind: command.Notify, Mode: command.Auto, AckTimeout: time.Minute}, {Kind: command.Suspend, Mode: command.Auto}}}
	w.policy = strict
	w.policy.AutoRequires, w.policy.Trusted = "", nil
	tr := w.triage()
	w.run(tr.Run)
	w.heard(tr, "raw.payments", w.finding("payments-1", 1))
	w.must(tr.SetPolicy(strict))
	w.heard(tr, "raw.payments", w.finding("payments-2", 1))
	w.ahead.Store(int64(2 * time.Minute))
	w.wantStatuses(command.Suspend, "payments-1", "held")
	w.wantStatuses(command.Suspend, "payments-2", "commanded verified")
}

func TestTrustValidate(t *testing.T) {
	f := func(want string, change func(*Policy)) {
		t.Helper()
		p := autoPolicy()
		p.AutoRequires, p.Trusted = TrustedTelemetry, []Trusted{{Topics: []string{"raw"}}}
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&p)
		wantProblem(t, p, want)
	}
	f("auto_requires: is \"luck\"", func(p *Policy) { p.AutoRequires = "luck" })
	f("trusted_telemetry: has 0 sources", func(p *Policy) { p.Trusted = nil })
	f("trusted_telemetry: has 1 sources", func(p *Policy) { p.AutoRequires = "" })
	f("trusted_telemetry[0].topics: is empty", func(p *Policy) { p.Trusted[0].Topics = nil })
	f("trusted_telemetry[0].agents[0]: is", func(p *Policy) { p.Trusted[0].Agents = []string{""} })
}

func ExamplePolicy_trusts() {
	p := Policy{AutoRequires: TrustedTelemetry, Trusted: []Trusted{{Topics: []string{"raw.acme.*"}, Tenants: []string{"acme"}}}}
	fmt.Println(p.trusts("raw.acme.eu", "clerk", "acme"), p.trusts("raw.acme.eu", "clerk", "other"), p.trusts("raw.public", "clerk", "acme"))
	// Output: true false false
}
