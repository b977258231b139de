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
