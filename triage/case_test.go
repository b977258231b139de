package triage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// wantDisposed waits until every finding has exactly one disposition.
func (w *world) wantDisposed(fs ...detect.Finding) {
	w.Helper()
	w.eventually(func() error {
		seen := map[string]int{}
		for _, c := range w.history().cases {
			if c.Disposition != nil {
				seen[c.Disposition.Finding]++
			}
		}
		for _, f := range fs {
			if seen[f.ID] != 1 {
				return fmt.Errorf("finding %s is disposed %d times", f.ID, seen[f.ID])
			}
		}
		return nil
	})
}

func TestEveryFindingIsDisposed(t *testing.T) {
	w := newWorld(t)
	w.policy.Entries[0].Match.Threats = []string{"privilege-drift"} // nothing answers the others
	tr := w.triage()
	a, b, c := w.finding("a", 1), w.finding("a", 2), w.finding("b", 1)
	a.PValue, a.Level, a.Observed, a.Baseline, a.Evidence = 1e-6, 1e-3, "crm:export, never used before", "in 900 uses: crm:read", []string{"e1"}
	b.Detector, b.Threat = "memory", "memory-poisoning"
	c.Credential.ID = ""
	w.must(w.feed(tr, a, b, c))
	w.must(w.feed(w.triage(), a, b, c)) // a replay adds nothing
	w.wantDisposed(a, b, c)
	cases := w.history().cases
	if len(cases) != 3 || cases[0].Incident.ID != cases[1].Incident.ID || cases[2].Incident.ID == cases[0].Incident.ID {
		t.Fatalf("cases are %+v", cases)
	}
	i := cases[1].Incident
	if i.Count != 2 || !i.Open || !slices.Equal(i.Detectors, []string{"first_use", "memory"}) || !slices.Equal(i.Threats, []string{"privilege-drift", "memory-poisoning"}) {
		t.Errorf("incident is %+v", i)
	}
	d := cases[0].Disposition
	if d.Report.Verdict != "suspicious" || d.Report.Confidence != "high" || !slices.Contains(d.Think, "Observed: crm:export, never used before") ||
		!slices.Contains(d.Report.Recommend, "revoke_token by policy contain, auto") || !strings.Contains(strings.Join(d.Report.Breaks, " "), "jti-a") {
		t.Errorf("disposition is %+v", d)
	}
	if d := cases[1].Disposition; d.Report.Verdict != "insufficient_data" || d.Report.Confidence != "medium" || !strings.Contains(d.Report.Recommend[0], "No policy answers it") {
		t.Errorf("disposition is %+v", d)
	}
	var own risk
	own.count(&a, 0, "contain")
	if got := dispose(tr.policy.Load(), &incident{Count: 1, Detectors: []string{"first_use"}}, &a, &own, nil, 0); cmp.Diff(d, got) != "" {
		t.Errorf("the same finding is disposed of differently:\n%s", cmp.Diff(d, got))
	}
}

func TestDispositionOfNamesThatFillAMessage(t *testing.T) {
	w := newWorld(t)
	f := w.finding("a", 1)
	huge := strings.Repeat("\x01", maxName)
	f.Agent, f.Session, f.User, f.Role, f.Tenant, f.Threat, f.Credential.ID = huge, huge, huge, huge, huge, huge, huge
	f.Detector, f.Observed, f.Baseline, f.Reason = huge, huge+huge, huge+huge, huge+huge
	f.PValue, f.Level = 1e-9, 1e-3
	w.policy.Entries[0].Name = strings.Repeat("n", 128)
	w.must(w.feed(w.triage(), f))
	w.wantDisposed(f)
}

// decideOn sends an operator's decision on an incident, said now unless it tells another time.
func (w *world) decideOn(by *command.Signer, a command.Approval) {
	w.Helper()
	if a.Time == 0 {
		a.Time = event.At(time.Now())
	}
	w.send(w.js(local.OperatorRole))(command.EncodeApproval(by, a))
}

func TestIncidentIsClosedAndReopened(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	w.must(w.feed(tr, w.finding("a", 1)))
	id := w.history().cases[0].Incident.ID
	op := w.signer(local.OperatorRole)

	w.decideOn(w.signer(local.ExecutorRole), command.Approval{Action: id, Decision: command.Close, Verdict: "benign"})
	w.wantCount(tr.metrics.approvals, "refused", 1)
	w.decideOn(op, command.Approval{Action: "unknown", Decision: command.Close, Verdict: "benign"})
	w.wantCount(tr.metrics.approvals, "unknown", 1)
	w.decideOn(op, command.Approval{Action: id, Decision: command.Close, Verdict: "false_positive", Why: "the export was planned"})
	w.wantCount(tr.metrics.approvals, "close", 1)
	last := func() command.Case { all := w.history().cases; return all[len(all)-1] }
	if c := last(); c.Change != command.Closed || c.Incident.Open || c.Incident.Verdict != "false_positive" || c.Incident.By != op.Public() || c.Incident.Why != "the export was planned" {
		t.Errorf("case is %+v", c)
	}
	w.eventually(func() error {
		if got := w.history().statuses(command.Resolve, "a"); got != "commanded" { // these executors resolve nothing
			return fmt.Errorf("resolve is %q", got)
		}
		return nil
	})
	w.decideOn(op, command.Approval{Action: id, Decision: command.Reopen, Why: "it was not"})
	w.wantCount(tr.metrics.approvals, "reopen", 1)
	if c := last(); c.Change != command.Reopened || !c.Incident.Open || c.Incident.Verdict != "" {
		t.Errorf("case is %+v", c)
	}
	w.decideOn(op, command.Approval{Action: id, Decision: command.Close, Verdict: "true_positive"})
	w.eventually(func() error {
		if c := last(); c.Incident.Open {
			return errors.New("not closed again")
		}
		return nil
	})
	// What comes then is another incident; the old one cannot be reopened over it.
	w.must(w.feed(tr, w.finding("a", 2)))
	if c := last(); c.Incident.ID == id || !c.Incident.Open || c.Incident.Count != 1 {
		t.Errorf("case is %+v", c)
	}
	w.decideOn(op, command.Approval{Action: id, Decision: command.Reopen, Why: "really"})
	w.wantCount(tr.metrics.approvals, "late", 1)
	w.wantOnce()
}

func TestCloseIsRefused(t *testing.T) {
	s := newSigner(t)
	f := func(a command.Approval, want string) {
		t.Helper()
		if _, err := command.EncodeApproval(s, a); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
	f(command.Approval{Action: "i1", Decision: command.Close}, `verdict is ""`)
	f(command.Approval{Action: "i1", Decision: command.Close, Verdict: "fine"}, `verdict is "fine"`)
	f(command.Approval{Action: "i1", Decision: command.Approved, Verdict: "benign"}, "a verdict on something that is not closed")
	f(command.Approval{Action: "i1", Decision: "burn"}, "want approve, reject, undo, close, reopen")
}

// TestCrashWhileClosing ends the work at every point of closing an incident.
func TestCrashWhileClosing(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.must(w.feed(w.triage(), w.finding("a", 1)))
		id := w.history().cases[0].Incident.ID
		do := func(tr *Triage) error {
			b, err := tr.connect(t.Context())
			if err != nil {
				return err
			}
			_, err = tr.decideCase(t.Context(), b, command.Approval{Action: id, Decision: command.Close, Verdict: "benign"}, "op")
			return err
		}
		tr := w.triage()
		crashAfter(tr, n)
		err := do(tr)
		tr.Close()
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		w.must(do(w.triage()))
		h := w.wantOnce()
		if got := h.statuses(command.Resolve, "a"); got != "commanded" || len(h.cases) != 2 || h.cases[1].Incident.Open {
			t.Errorf("after %v: resolve %q, cases %+v", err, got, h.cases)
		}
		if t.Failed() || err == nil {
			return
		}
		w.nats.Close()
	}
}
