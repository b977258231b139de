package triage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/triage/command"
)

func (w *world) wantCount(c *prometheus.CounterVec, label string, want float64) {
	w.Helper()
	w.eventually(func() error {
		if got := testutil.ToFloat64(c.WithLabelValues(label)); got != want {
			return fmt.Errorf("%v %s, want %v", got, label, want)
		}
		return nil
	})
}

func newSigner(t *testing.T) *command.Signer {
	t.Helper()
	kp, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	s, err := command.NewSigner(seed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnswers(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	w.run(tr.Run)
	w.must(w.feed(tr, w.finding("a", 1), w.finding("b", 1)))
	a, b := w.history().commands[0], w.history().commands[1]
	send := w.send(w.js(local.ExecutorRole))
	executor := w.signer(local.ExecutorRole)

	send(command.EncodeAck(newSigner(t), command.Ack{Action: a.ID, Status: command.Verified}))
	w.wantCount(tr.metrics.answers, "refused", 1)
	send(command.EncodeAck(w.signer(local.TriageRole), command.Ack{Action: a.ID, Status: command.Verified}))
	w.wantCount(tr.metrics.answers, "refused", 2)
	m, err := command.EncodeAck(executor, command.Ack{Action: b.ID, Status: command.Verified})
	w.must(err)
	m.Subject = command.AckSubject(a.ID)
	send(m, nil)
	w.wantCount(tr.metrics.answers, "refused", 3)
	send(nats.NewMsg(command.AckSubject(a.ID)), nil)
	w.wantCount(tr.metrics.answers, "refused", 4)
	send(command.EncodeAck(executor, command.Ack{Action: strings.Repeat("0", 32), Status: command.Verified}))
	w.wantCount(tr.metrics.answers, "unknown", 1)
	if got := w.history().statuses(command.RevokeToken, "a"); got != "commanded" {
		t.Fatalf("statuses are %q after nothing but forgeries", got)
	}

	send(command.EncodeAck(executor, command.Ack{Action: a.ID, Status: command.Verified, Detail: "gone"}))
	w.wantStatuses(command.RevokeToken, "a", "commanded verified")
	send(command.EncodeAck(executor, command.Ack{Action: a.ID, Status: command.Verified, Detail: "gone"}))
	w.wantCount(tr.metrics.answers, "duplicate", 1)
	send(command.EncodeAck(executor, command.Ack{Action: a.ID, Status: command.Failed, Detail: "or not"}))
	w.wantCount(tr.metrics.answers, "contradicting", 1)
	w.wantStatuses(command.RevokeToken, "a", "commanded verified")
	w.wantStatuses(command.Page, "a", "commanded")

	send(command.EncodeAck(executor, command.Ack{Action: b.ID, Status: command.Unverified, Detail: "still there"}))
	w.wantStatuses(command.RevokeToken, "b", "commanded unverified")
	w.wantStatuses(command.Page, "b", "commanded")
	send(command.EncodeAck(executor, command.Ack{Action: b.ID, Status: command.Verified, Detail: "on second thoughts"}))
	w.wantCount(tr.metrics.answers, "contradicting", 2)
	w.wantStatuses(command.RevokeToken, "b", "commanded unverified")
	w.wantStatuses(command.Page, "b", "commanded commanded")
	if got := w.wantOnce().reasons(command.Page); !strings.Contains(got, "is verified, but an executor answered otherwise") {
		t.Errorf("the pages say %q", got)
	}
}

func TestApproval(t *testing.T) {
	type scene struct {
		*world
		tr     *Triage
		action string
		decide func(by *command.Signer, d command.Decision)
	}
	start := func(t *testing.T) scene {
		w := newWorld(t)
		step := &w.policy.Entries[0].Ladder[0]
		step.Mode, step.Approvers = command.Approve, []string{w.nats.SigningKey(local.OperatorRole)}
		tr := w.triage()
		w.run(tr.Run)
		w.must(w.feed(tr, w.finding("a", 1)))
		h := w.history()
		if got := h.statuses(command.RevokeToken, "a"); got != "waiting" {
			t.Fatalf("statuses are %q", got)
		}
		if got := h.reasons(command.Page); !strings.Contains(got, "waits for approval") {
			t.Errorf("nobody is told: %q", got)
		}
		if len(h.commands) != 1 { // the page
			t.Errorf("commands are %+v", h.commands)
		}
		send := w.send(w.js(local.OperatorRole))
		id := h.outcomes[0].Action.ID
		return scene{w, tr, id, func(by *command.Signer, d command.Decision) {
			t.Helper()
			send(command.EncodeApproval(by, command.Approval{Action: id, Decision: d, Why: "I looked"}))
		}}
	}
	t.Run("approved twice", func(t *testing.T) {
		s := start(t)
		s.decide(s.signer(local.OperatorRole), command.Approved)
		s.decide(s.signer(local.OperatorRole), command.Approved)
		s.wantCount(s.tr.metrics.approvals, "duplicate", 1)
		s.wantStatuses(command.RevokeToken, "a", "waiting commanded")
		h := s.wantOnce()
		if got := h.details(command.RevokeToken, "a"); !strings.Contains(got, "I looked") {
			t.Errorf("details are %q", got)
		}
		s.decide(s.signer(local.OperatorRole), command.Refused)
		s.wantCount(s.tr.metrics.approvals, "duplicate", 2)
		s.wantStatuses(command.RevokeToken, "a", "waiting commanded")
	})
	t.Run("approved and carried out", func(t *testing.T) {
		s := start(t)
		token := s.issue("jti-a")
		s.executors()
		s.decide(s.signer(local.OperatorRole), command.Approved)
		s.wantStatuses(command.RevokeToken, "a", "waiting commanded verified")
		if s.idp.Active(token) {
			t.Error("the token is still active")
		}
	})
	t.Run("rejected", func(t *testing.T) {
		s := start(t)
		s.decide(s.signer(local.OperatorRole), command.Refused)
		s.wantStatuses(command.RevokeToken, "a", "waiting rejected")
		s.decide(s.signer(local.OperatorRole), command.Approved)
		s.wantCount(s.tr.metrics.approvals, "duplicate", 1)
		s.wantStatuses(command.RevokeToken, "a", "waiting rejected")
		if got := len(s.wantOnce().commands); got != 1 {
			t.Errorf("%d commands, want the first page only", got)
		}
	})
	t.Run("expired", func(t *testing.T) {
		s := start(t)
		s.ahead.Store(int64(16 * time.Minute))
		s.wantStatuses(command.RevokeToken, "a", "waiting expired")
		s.eventually(func() error {
			if got := s.history().reasons(command.Page); !strings.Contains(got, "is expired: nobody decided in time") {
				return fmt.Errorf("the pages say %q", got)
			}
			return nil
		})
		s.decide(s.signer(local.OperatorRole), command.Approved)
		s.wantCount(s.tr.metrics.approvals, "late", 1)
		s.wantStatuses(command.RevokeToken, "a", "waiting expired")
		s.wantOnce()
	})
	t.Run("not entitled", func(t *testing.T) {
		s := start(t)
		s.decide(newSigner(t), command.Approved)
		s.decide(s.signer(local.ExecutorRole), command.Approved)
		s.wantCount(s.tr.metrics.approvals, "refused", 2)
		s.tr.cfg.Trust.Operators = append(s.tr.cfg.Trust.Operators, s.signer(local.GatewayRole).Public())
		s.decide(s.signer(local.GatewayRole), command.Approved)
		s.wantCount(s.tr.metrics.approvals, "not entitled", 1)
		s.wantStatuses(command.RevokeToken, "a", "waiting")
	})
	t.Run("stopped by the kill switch", func(t *testing.T) {
		s := start(t)
		p := s.policy
		p.KillSwitch = true
		s.must(s.tr.SetPolicy(p))
		s.decide(s.signer(local.OperatorRole), command.Approved)
		s.wantCount(s.tr.metrics.approvals, "stopped", 1)
		s.wantStatuses(command.RevokeToken, "a", "waiting")
	})
}

func TestApprovalPagesLaterIfTheStepSaysSo(t *testing.T) {
	w := newWorld(t)
	step := &w.policy.Entries[0].Ladder[0]
	step.Mode, step.Approvers, step.EscalateAfter = command.Approve, []string{w.nats.SigningKey(local.OperatorRole)}, 5*time.Minute
	tr := w.triage()
	w.run(tr.Run)
	w.must(w.feed(tr, w.finding("a", 1)))
	w.wantStatuses(command.Page, "a", "")
	w.ahead.Store(int64(6 * time.Minute))
	w.wantStatuses(command.Page, "a", "commanded")
	w.wantStatuses(command.RevokeToken, "a", "waiting")
	w.wantOnce()
}
