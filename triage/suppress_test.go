package triage

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// suppressions are those that were told, by agent, the last of each.
func (h history) suppressions() map[string]command.Suppression {
	all := map[string]command.Suppression{}
	for _, c := range h.cases {
		if c.Suppression != nil {
			all[c.Suppression.Agent] = *c.Suppression
		}
	}
	return all
}

func TestVerdictSuppresses(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	w.run(tr.Run)
	w.must(w.feed(tr, w.finding("a", 1)))
	id := w.history().cases[0].Incident.ID
	op := w.signer(local.OperatorRole)
	now := event.At(time.Now())
	week := event.At(now.Time().Add(7 * 24 * time.Hour))
	w.decideOn(op, command.Approval{Action: id, Decision: command.Close, Verdict: "false_positive", Why: "it was planned", Until: week, Time: now})
	w.wantCount(tr.metrics.approvals, "close", 1)
	s := w.history().suppressions()["a"]
	if s.Detector != "first_use" || s.Incident != id || s.Owner != op.Public() || s.Why != "it was planned" || s.Until != week || s.Untrusted || s.Severity != int(detect.High) {
		t.Fatalf("suppression is %+v", s)
	}

	// One like it is kept, counted and looked at; nothing is done about it.
	again := w.finding("a", 2)
	again.Session, again.Credential.ID = "s2", "jti-2"
	w.must(w.feed(tr, again))
	w.must(w.feed(w.triage(), again))
	w.wantDisposed(again)
	h := w.wantOnce()
	last := h.cases[len(h.cases)-1]
	if last.Incident.Open || last.Incident.Suppressed != 1 || last.Disposition.Suppression != s.ID || !strings.Contains(last.Disposition.Report.Recommend[0], s.ID) {
		t.Errorf("case is %+v, %+v", last.Incident, last.Disposition)
	}
	if got := len(h.commands); got != 2 || testutil.ToFloat64(tr.metrics.suppressed) != 1 { // the revocation, and the resolve of the closed one
		t.Errorf("%d commands, %v suppressed", got, testutil.ToFloat64(tr.metrics.suppressed))
	}

	// What is worse, by another detector, about another agent, or of an agent that was stopped, is acted on.
	f := func(name string, n int, change func(*detect.Finding)) {
		t.Helper()
		f := w.finding("a", n)
		f.Session, f.Credential.ID = name, "jti-"+name
		change(&f)
		before := len(w.history().commands)
		w.must(w.feed(tr, f))
		if after := len(w.history().commands); after == before {
			t.Errorf("%s: nothing is done", name)
		}
	}
	f("worse", 3, func(f *detect.Finding) { f.Severity = detect.Critical })
	f("detector", 4, func(f *detect.Finding) { f.Detector = "memory" })
	f("agent", 5, func(f *detect.Finding) { f.Agent = "b" })
	f("breach", 6, func(f *detect.Finding) { f.Detector = BreachDetector })

	// It ends when an operator says so, and by itself.
	w.decideOn(w.signer(local.ExecutorRole), command.Approval{Action: s.ID, Decision: command.Unsuppress})
	w.wantCount(tr.metrics.approvals, "refused", 1)
	w.decideOn(op, command.Approval{Action: "nothing", Decision: command.Unsuppress})
	w.wantCount(tr.metrics.approvals, "unknown", 1)
	w.decideOn(op, command.Approval{Action: s.ID, Decision: command.Unsuppress, Why: "it was not"})
	w.wantCount(tr.metrics.approvals, "unsuppress", 1)
	if s := w.history().suppressions()["a"]; !s.Removed || s.RemovedBy != op.Public() {
		t.Errorf("suppression is %+v", s)
	}
	f("removed", 7, func(*detect.Finding) {})
}

func TestSuppressionExpires(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	w.run(tr.Run)
	w.must(w.feed(tr, w.finding("a", 1)))
	op, now := w.signer(local.OperatorRole), event.At(time.Now())
	w.decideOn(op, command.Approval{Action: w.history().cases[0].Incident.ID, Decision: command.Close, Verdict: "benign", Until: event.At(now.Time().Add(time.Hour)), Time: now})
	w.wantCount(tr.metrics.approvals, "close", 1)
	w.ahead.Store(int64(2 * time.Hour))
	w.must(w.feed(tr, w.finding("a", 2)))
	if h := w.history(); len(h.openIncidents()) != 1 {
		t.Errorf("incidents are %+v", h.latest())
	}
	w.decideOn(op, command.Approval{Action: w.history().suppressions()["a"].ID, Decision: command.Unsuppress})
	w.wantCount(tr.metrics.approvals, "late", 1)
}

func TestSuppressionIsRefused(t *testing.T) {
	s, now := newSigner(t), event.At(time.Now())
	f := func(d command.Decision, v command.Verdict, after time.Duration) {
		t.Helper()
		a := command.Approval{Action: "i1", Decision: d, Verdict: v, Time: now, Until: event.At(now.Time().Add(after))}
		if _, err := command.EncodeApproval(s, a); !errors.Is(err, command.ErrMalformed) || !strings.Contains(err.Error(), "until is") {
			t.Errorf("%s %s for %s: %v", d, v, after, err)
		}
	}
	f(command.Close, "true_positive", time.Hour)
	f(command.Close, "false_positive", -time.Hour)
	f(command.Close, "false_positive", 31*24*time.Hour)
	f(command.Approved, "", time.Hour)
}
