package triage

import (
	"cmp"
	"context"
	"log/slog"
	"slices"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// hearApproval takes an operator's decision. What no operator has signed is counted and dropped.
func (t *Triage) hearApproval(ctx context.Context, b *bus, m command.Message) error {
	a, operator, err := command.ParseApproval(t.cfg.Trust, m)
	if err != nil {
		t.metrics.approvals.WithLabelValues("refused").Inc()
		t.log.Warn("approval refused", "subject", cut(m.Subject, 200), "err", err)
		return nil
	}
	decide := t.once
	switch a.Decision {
	case command.Approved, command.Refused, command.Undo: // said again they change nothing
		decide = t.decideAction
	}
	result, err := decide(ctx, b, a, operator)
	if err != nil {
		return err
	}
	t.metrics.approvals.WithLabelValues(result).Inc()
	t.log.Info("operator decided", about(a), "decision", a.Decision, "operator", operator, "result", result, "why", cut(a.Why, maxText))
	return nil
}

// about names what a decision is about.
func about(a command.Approval) slog.Attr {
	switch {
	case a.Decision.OfBaseline():
		return slog.String("agent", a.Agent)
	case a.Decision.OfBrake():
		return slog.Group("brake", "kind", cmp.Or(string(a.Kind), "all"), "tenant", a.Tenant)
	case a.Decision == command.Close || a.Decision == command.Reopen:
		return slog.String("incident", a.Action)
	case a.Decision == command.Unsuppress:
		return slog.String("suppression", a.Action)
	}
	return slog.String("action", a.Action)
}

// once does what a decision wants that could turn something a second time, once: a message can
// be recorded, and played again after another decision has turned that back. Of each operator the
// decisions on one thing are taken in the order in which they were signed, and none that was
// signed by a clock far ahead of ours.
func (t *Triage) once(ctx context.Context, b *bus, a command.Approval, operator string) (string, error) {
	if a.Time.Time().Sub(t.now()) > decisionAge { // it would stand before all that is decided until then
		return "late", nil
	}
	key := "spoke." + hash(a.Action, operator)
	last, rev, err := load[event.Timestamp](ctx, b.records, key)
	if err != nil {
		return "", err
	}
	if rev != 0 && a.Time <= last {
		return "duplicate", nil
	}
	decide := t.decideCase
	switch {
	case a.Decision.OfBaseline():
		decide = t.operate
	case a.Decision.OfBrake():
		decide = t.decideBrake
	case a.Decision == command.Unsuppress:
		decide = t.unsuppress
	}
	result, err := decide(ctx, b, a, operator)
	if err != nil {
		return "", err
	}
	return result, mark(ctx, b.records, key, a.Time)
}

// decideAction approves, rejects or undoes an action. The action keeps who may approve it; who was
// taken out of the policy since, as somebody whose key is lost, approves nothing any more.
func (t *Triage) decideAction(ctx context.Context, b *bus, a command.Approval, operator string) (string, error) {
	incident := ""
	result, err := t.change(ctx, b, a.Action, func(r *record) (string, bool, error) {
		now := t.now()
		incident = r.Action.Incident
		if a.Decision == command.Undo {
			result, changed := r.undo(now, a, operator)
			return result, changed, nil
		}
		policy := t.policy.Load()
		if a.Decision == command.Approved && !policy.approver(operator) {
			return "not entitled", false, nil
		}
		r.Votes = slices.DeleteFunc(r.Votes, func(v vote) bool { return !policy.approver(v.By) })
		result, changed := r.decide(now, a, operator)
		if result != "approved" {
			return result, changed, nil
		}
		if policy.KillSwitch {
			return "stopped", false, nil
		}
		if _, err := t.reserve(ctx, b, policy, r.Action, now, true); err != nil {
			return "", false, err
		}
		r.move(now, command.Commanded, r.approvedBy(), "")
		return result, true, nil
	})
	if err != nil || result == "unknown" || result == "not entitled" {
		return result, err
	}
	return result, t.acknowledge(ctx, b, incident)
}

// approver reports whether the policy names an operator among those who may approve anything.
func (p *Policy) approver(operator string) bool {
	names := func(s Step) bool { return slices.Contains(s.Approvers, operator) }
	return slices.Contains(p.Brake.Approvers, operator) || slices.ContainsFunc(p.Entries, func(e Entry) bool {
		return slices.ContainsFunc(e.Ladder, names) || slices.ContainsFunc(e.Also, names)
	})
}
