package triage

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/triage/command"
)

// hear takes one message of the stream of answers and approvals. What nobody we
// trust has signed is counted and dropped: it must not stop the rest.
func (t *Triage) hear(ctx context.Context, m jetstream.Msg) error {
	b, err := t.connect(ctx)
	if err != nil {
		return err
	}
	msg := command.Message{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()}
	if strings.HasPrefix(msg.Subject, command.ApprovalSubject("")) {
		return t.hearApproval(ctx, b, msg)
	}
	return t.hearAck(ctx, b, msg)
}

func (t *Triage) hearAck(ctx context.Context, b *bus, m command.Message) error {
	ack, executor, err := command.ParseAck(t.cfg.Trust, m)
	if err != nil {
		t.metrics.answers.WithLabelValues("refused").Inc()
		t.log.Warn("answer refused", "subject", cut(m.Subject, 200), "err", err)
		return nil
	}
	result, err := t.change(ctx, b, ack.Action, func(r *record) (string, bool, error) {
		result, changed := r.answer(t.now(), ack, executor)
		return result, changed, nil
	})
	if err != nil {
		return err
	}
	t.metrics.answers.WithLabelValues(result).Inc()
	if result != "taken" {
		t.log.Warn("odd answer", "action", ack.Action, "answer", result, "status", ack.Status, "executor", executor)
	}
	return nil
}

func (t *Triage) hearApproval(ctx context.Context, b *bus, m command.Message) error {
	approval, operator, err := command.ParseApproval(t.cfg.Trust, m)
	if err != nil {
		t.metrics.approvals.WithLabelValues("refused").Inc()
		t.log.Warn("approval refused", "subject", cut(m.Subject, 200), "err", err)
		return nil
	}
	if approval.Decision.OfBaseline() {
		return t.operate(ctx, approval, operator)
	}
	if approval.Decision == command.Unsuppress {
		result, err := t.unsuppress(ctx, b, approval, operator)
		if err != nil {
			return err
		}
		t.metrics.approvals.WithLabelValues(result).Inc()
		t.log.Info("operator decided", "suppression", approval.Action, "decision", approval.Decision, "operator", operator, "result", result)
		return nil
	}
	if approval.Decision == command.Close || approval.Decision == command.Reopen {
		result, err := t.decideCase(ctx, b, approval, operator)
		if err != nil {
			return err
		}
		t.metrics.approvals.WithLabelValues(result).Inc()
		t.log.Info("operator decided", "incident", approval.Action, "decision", approval.Decision, "operator", operator, "result", result)
		return nil
	}
	if approval.Decision.OfBrake() {
		return t.hearBrake(ctx, b, approval, operator)
	}
	incident := ""
	result, err := t.change(ctx, b, approval.Action, func(r *record) (string, bool, error) {
		now := t.now()
		incident = r.Action.Incident
		if approval.Decision == command.Undo {
			result, changed := r.undo(now, approval, operator)
			return result, changed, nil
		}
		result, changed := r.decide(now, approval, operator)
		if result != "approved" {
			return result, changed, nil
		}
		policy := t.policy.Load()
		if policy.KillSwitch {
			return "stopped", false, nil
		}
		if _, err := t.reserve(ctx, b, policy, r.Action, now, true); err != nil {
			return "", false, err
		}
		r.move(now, command.Commanded, r.approvedBy(), "")
		return result, true, nil
	})
	if err != nil {
		return err
	}
	if result != "unknown" && result != "not entitled" {
		if err := t.acknowledge(ctx, b, incident); err != nil {
			return err
		}
	}
	t.metrics.approvals.WithLabelValues(result).Inc()
	t.log.Info("operator decided", "action", approval.Action, "decision", approval.Decision, "operator", operator, "result", result)
	return nil
}

// change lets fn change the record of an action, by compare-and-set, and does
// what it owes then: also when fn changes nothing, because whoever changed it
// before may have ended on the way.
func (t *Triage) change(ctx context.Context, b *bus, action string, fn func(*record) (result string, changed bool, err error)) (string, error) {
	for {
		r, rev, err := load[record](ctx, b.records, command.ActionKey(action))
		if err != nil {
			return "", err
		}
		if rev == 0 {
			return "unknown", nil
		}
		status := r.Status
		result, changed, err := fn(&r)
		if err != nil {
			return "", err
		}
		if changed {
			if err := t.at("change"); err != nil {
				return "", err
			}
			switch err := t.put(ctx, b, &r, &rev); {
			case errors.Is(err, errConflict):
				continue
			case err != nil:
				return "", err
			}
			if r.Status != status {
				t.moved(&r)
			}
		}
		return result, t.settle(ctx, b, action)
	}
}
