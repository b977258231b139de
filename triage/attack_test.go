package triage

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// again is a message as somebody recorded it, to be played on a subject.
func again(m *nats.Msg, subject string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: m.Header, Data: m.Data}
}

// altered is a message with one word exchanged for another.
func altered(m *nats.Msg, from, to string) *nats.Msg {
	return &nats.Msg{Subject: m.Subject, Header: m.Header, Data: []byte(strings.Replace(string(m.Data), from, to, -1))}
}

// TestRecordedAnswers plays an executor's answer again, elsewhere and altered.
func TestRecordedAnswers(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	w.run(tr.Run)
	w.must(w.feed(tr, w.finding("a", 1), w.finding("b", 1)))
	a, b := w.history().commands[0], w.history().commands[1]
	send := w.send(w.js(local.ExecutorRole))
	ack, err := command.EncodeAck(w.signer(local.ExecutorRole), command.Ack{Action: a.ID, Status: command.Unverified, Detail: "still there"})
	w.must(err)

	send(again(ack, command.AckSubject(b.ID)), nil)
	send(altered(ack, "unverified", "verified"), nil)
	send(altered(ack, a.ID, b.ID), nil)
	w.wantCount(tr.metrics.answers, "refused", 3)
	w.wantStatuses(command.RevokeToken, "a", "commanded")
	send(ack, nil)
	w.wantStatuses(command.RevokeToken, "a", "commanded unverified")
	send(ack, nil)
	w.wantCount(tr.metrics.answers, "duplicate", 1)
	w.wantStatuses(command.RevokeToken, "b", "commanded")
	w.wantStatuses(command.Page, "a", "commanded")
	w.wantOnce()
}

// TestRecordedApproval plays an operator's approval again, for another action,
// altered, and after it was undone.
func TestRecordedApproval(t *testing.T) {
	w := newWorld(t)
	w.executors()
	step := &w.policy.Entries[0].Ladder[0]
	step.Mode, step.Approvers = command.Approve, []string{w.nats.SigningKey(local.OperatorRole)}
	tr := w.triage()
	w.run(tr.Run)
	w.issue("jti-a")
	tokenB := w.issue("jti-b")
	w.must(w.feed(tr, w.finding("a", 1), w.finding("b", 1)))
	ids := map[string]string{}
	for _, o := range w.history().outcomes {
		if o.Action.Kind == command.RevokeToken {
			ids[o.Action.Target.Agent] = o.Action.ID
		}
	}
	send, op := w.send(w.js(local.OperatorRole)), w.signer(local.OperatorRole)
	yes, err := command.EncodeApproval(op, command.Approval{Action: ids["a"], Decision: command.Approved, Why: "I looked"})
	w.must(err)
	no, err := command.EncodeApproval(op, command.Approval{Action: ids["b"], Decision: command.Refused, Why: "planned"})
	w.must(err)

	send(again(yes, command.ApprovalSubject(ids["b"])), nil)
	send(altered(yes, ids["a"], ids["b"]), nil)
	send(altered(no, "reject", "approve"), nil)
	w.wantCount(tr.metrics.approvals, "refused", 3)
	w.wantStatuses(command.RevokeToken, "a", "waiting")
	w.wantStatuses(command.RevokeToken, "b", "waiting")
	send(yes, nil)
	w.wantStatuses(command.RevokeToken, "a", "waiting commanded verified")
	send(command.EncodeApproval(op, command.Approval{Action: ids["a"], Decision: command.Undo, Why: "a mistake"}))
	w.wantStatuses(command.RevokeToken, "a", "waiting commanded verified undone")
	send(yes, nil)
	w.wantCount(tr.metrics.approvals, "duplicate", 1)
	w.wantStatuses(command.RevokeToken, "a", "waiting commanded verified undone")
	if !w.idp.Active(tokenB) || w.idp.Revocations() != 1 {
		t.Error("an approval of one action carried out another")
	}
	w.wantOnce()
}

// TestRecordedTurns plays again what an operator decided and later took back: to close an incident
// and suppress what is like it, to end a suppression, to reset a baseline.
func TestRecordedTurns(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	log := &decisions{ids: map[string]bool{}}
	tr.UseOperations(log.take)
	w.run(tr.Run)
	w.must(w.feed(tr, w.finding("a", 1)))
	op, id := w.signer(local.OperatorRole), w.history().cases[0].Incident.ID
	send := w.send(w.js(local.OperatorRole))
	said := func(a command.Approval) *nats.Msg {
		a.Time = event.At(time.Now())
		m, err := command.EncodeApproval(op, a)
		w.must(err)
		send(m, nil)
		return m
	}
	week := event.At(time.Now().Add(7 * 24 * time.Hour))
	closed := said(command.Approval{Action: id, Decision: command.Close, Verdict: falsePositive, Until: week, Why: "planned"})
	w.wantCount(tr.metrics.approvals, "close", 1)
	ended := said(command.Approval{Action: suppressionID("a", "first_use", true), Decision: command.Unsuppress, Why: "it was not"})
	w.wantCount(tr.metrics.approvals, "unsuppress", 1)
	said(command.Approval{Action: id, Decision: command.Reopen, Why: "it was not"})
	w.wantCount(tr.metrics.approvals, "reopen", 1)
	send(again(closed, closed.Subject), nil)
	w.wantCount(tr.metrics.approvals, "duplicate", 1)
	if open := w.history().openIncidents(); len(open) != 1 {
		t.Errorf("%d incidents are open, want the one that was reopened", len(open))
	}
	said(command.Approval{Action: id, Decision: command.Close, Verdict: falsePositive, Until: week, Why: "it was planned after all"})
	w.wantCount(tr.metrics.approvals, "close", 2)
	send(again(ended, ended.Subject), nil)
	w.wantCount(tr.metrics.approvals, "duplicate", 2)
	if s := w.history().suppressions()["a"]; s.Removed {
		t.Error("the end of an earlier suppression has ended this one")
	}

	reset := said(command.Approval{Action: command.BaselineID("a"), Agent: "a", Decision: command.Reset, Why: "new duties"})
	w.wantCount(tr.metrics.approvals, "reset", 1)
	send(again(reset, reset.Subject), nil)
	w.wantCount(tr.metrics.approvals, "duplicate", 3)
	w.wantCount(tr.metrics.approvals, "refused", 0)
}

// TestClockAhead has an operator decide with a clock that is a year ahead: it is not taken, and nor
// does it stand before what he decides when it is set.
func TestClockAhead(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	log := &decisions{ids: map[string]bool{}}
	tr.UseOperations(log.take)
	w.run(tr.Run)
	op := w.signer(local.OperatorRole)
	for n, a := range []command.Approval{
		{Action: command.BaselineID("a"), Agent: "a", Decision: command.Reset, Why: "new duties"},
		{Action: command.BrakeID(command.Suspend, ""), Kind: command.Suspend, Decision: command.Pull, Why: "wait"},
	} {
		a.Time = event.At(time.Now().AddDate(1, 0, 0))
		w.decideOn(op, a)
		w.wantCount(tr.metrics.approvals, "late", float64(n+1))
		a.Time = event.At(time.Now())
		w.decideOn(op, a)
		w.wantCount(tr.metrics.approvals, map[command.Decision]string{command.Reset: "reset", command.Pull: "pulled"}[a.Decision], 1)
	}
	w.wantCount(tr.metrics.approvals, "duplicate", 0)
}

// TestExecutorsThatDisagree has one of two trusted executors lie. The first
// answer stands, the second is not believed, and a person is told.
func TestExecutorsThatDisagree(t *testing.T) {
	w := newWorld(t)
	second := newSigner(t)
	tr := w.triage()
	tr.cfg.Trust.Executors = append(tr.cfg.Trust.Executors, second.Public())
	w.run(tr.Run)
	w.must(w.feed(tr, w.finding("a", 1)))
	id := w.history().commands[0].ID
	send := w.send(w.js(local.ExecutorRole))
	send(command.EncodeAck(w.signer(local.ExecutorRole), command.Ack{Action: id, Status: command.Verified, Detail: "gone"}))
	w.wantStatuses(command.RevokeToken, "a", "commanded verified")
	send(command.EncodeAck(second, command.Ack{Action: id, Status: command.Unverified, Detail: "the token is active"}))
	w.wantCount(tr.metrics.answers, "contradicting", 1)
	w.wantStatuses(command.Page, "a", "commanded")
	if got := w.wantOnce().reasons(command.Page); !strings.Contains(got, "an executor answered otherwise") {
		t.Errorf("the page says %q", got)
	}
}

// TestPolicyThatSuspendsEveryone: without a budget it is refused when it is
// loaded, with one the budget ends it.
func TestPolicyThatSuspendsEveryone(t *testing.T) {
	w := newWorld(t)
	everyone := Policy{Entries: []Entry{{Name: "everyone", Ladder: []Step{{Kind: command.Suspend, Mode: command.Auto}, {Kind: command.Page, Mode: command.Auto}}}}}
	tr := w.triage()
	if err := tr.SetPolicy(everyone); err == nil || !strings.Contains(err.Error(), "budgets.suspend: is missing") {
		t.Fatalf("a policy without a budget: %v", err)
	}
	everyone.Budgets = map[command.Kind]Budget{command.Suspend: {Max: 3, Per: time.Hour}}
	w.must(tr.SetPolicy(everyone))
	var fs []detect.Finding
	for n := range 20 {
		fs = append(fs, w.finding(fmt.Sprint("agent-", n), 1))
	}
	w.must(w.feed(tr, fs...))
	count := map[command.Status]int{}
	contained := 0
	for _, o := range w.wantOnce().outcomes {
		if o.Action.Kind == command.Suspend {
			count[o.Status]++
		}
	}
	for _, f := range fs {
		if w.posture(f.Agent).Standing == command.Contained {
			contained++
		}
	}
	if count[command.Verified] != 3 || count[command.Held]+count[command.Waiting] != 17 || contained != 3 {
		t.Errorf("suspended are %d by posture, %v by action; want 3 of 20", contained, count)
	}
	if got := w.history().details(command.Suspend, "agent-19"); !strings.Contains(got, "budget of 3 per 1h0m0s") {
		t.Errorf("the last one is held because %q", got)
	}
}

// TestFlood raises findings faster than people can read them: all are looked at,
// they fold into few incidents, and pages stay within their budget. How many
// tells STAKEOUT_FLOOD.
func TestFlood(t *testing.T) {
	n := 1000
	if s := os.Getenv("STAKEOUT_FLOOD"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	w.policy.Budgets[command.RevokeToken] = Budget{Max: 10, Per: time.Hour}
	w.policy.Budgets[command.Page] = Budget{Max: 5, Per: time.Hour}
	w.executors()
	const parts, agents = 2, 100
	var trs [parts]*Triage
	for p := range parts {
		trs[p] = w.triage()
		trs[p].log = w.quiet()
		w.run(trs[p].Run)
	}
	finding := func(i int) detect.Finding {
		f := w.about(fmt.Sprint("agent-", i%agents), i, poisoned(fmt.Sprint("record-", i%agents/20)))
		f.Time = event.At(time.Now())
		f.PValue, f.Level, f.Observed = 1e-6, 1e-3, "crm:export"
		return f
	}
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / 1e6
	}
	began := time.Now()
	var early float64
	for from := 0; from < n; from += agents {
		errs := make(chan error)
		for p := range parts {
			go func() {
				var fs []detect.Finding
				for i := from; i < min(from+agents, n); i++ {
					if i%parts == p {
						fs = append(fs, finding(i))
					}
				}
				err := w.feed(trs[p], fs...)
				if err != nil { // a server that is slow: the partition is opened again, and read again
					err = w.feed(trs[p], fs...)
				}
				errs <- err
			}()
		}
		for range parts {
			w.must(<-errs)
		}
		if from < n/2 {
			early = heap()
		}
	}
	took := time.Since(began)
	late := heap()

	h := w.history()
	disposed := map[string]int{}
	for _, c := range h.cases {
		if c.Disposition != nil {
			disposed[c.Disposition.Finding]++
		}
	}
	pages, incidents, count := 0, h.openIncidents(), uint64(0)
	for _, a := range h.commands {
		if a.Kind == command.Page {
			pages++
		}
	}
	for _, i := range incidents {
		count += i.Count
	}
	folded := testutil.ToFloat64(trs[0].metrics.folded) + testutil.ToFloat64(trs[1].metrics.folded)
	t.Logf("%d findings in %s: %d disposed, %d incidents, %d pages and %.0f folded, heap from %.1f to %.1f MB",
		n, took.Round(time.Millisecond), len(disposed), len(incidents), pages, folded, early, late)
	if len(disposed) != n || count != uint64(n) {
		t.Errorf("%d of %d findings are disposed, %d counted by incidents", len(disposed), n, count)
	}
	if len(incidents) > agents/20+1 || pages > 6 || folded == 0 {
		t.Errorf("%d incidents, %d pages, %.0f folded; want at most %d and 6", len(incidents), pages, folded, agents/20+1)
	}
	if late > early+20 {
		t.Errorf("the heap grew from %.1f to %.1f MB", early, late)
	}
}
