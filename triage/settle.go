package triage

import (
	"context"
	"errors"

	"github.com/stakeout-project/stakeout/triage/command"
)

// apply makes the record of a proposed action, or makes the one there is firmer,
// and does what it owes.
func (t *Triage) apply(ctx context.Context, b *bus, p proposal) error {
	for {
		r, rev, err := load[record](ctx, b.records, command.ActionKey(p.Action.ID))
		if err != nil {
			return err
		}
		if r.Status == command.Undone { // another finding calls for it again
			p.Action.ID, p.Undid = hash(p.Action.ID, "again"), r.By
			continue
		}
		before := r.Status
		// An action that was only shadowed or held back is asked for again when
		// another finding of the incident calls for it.
		if rev == 0 || (before == command.Shadowed || before == command.Held || r.braked(p)) && p.Action.Mode != command.Shadow {
			if err := t.admit(ctx, b, &r, p); err != nil {
				return err
			}
		}
		if r.Status != before {
			if err := t.at("record"); err != nil {
				return err
			}
			switch err := t.put(ctx, b, &r, &rev); {
			case errors.Is(err, errConflict):
				continue
			case err != nil:
				return err
			}
			t.moved(&r)
		}
		return t.settle(ctx, b, p.Action.ID)
	}
}

// put saves r and moves its revision on.
func (t *Triage) put(ctx context.Context, b *bus, r *record, rev *uint64) error {
	next, err := save(ctx, b.records, command.ActionKey(r.Action.ID), r, *rev)
	if err != nil {
		return err
	}
	*rev = next
	return nil
}

// moved counts and logs the status that r was just saved with.
func (t *Triage) moved(r *record) {
	t.metrics.moved(r.Action, r.Status, r.last().Time.Time())
	log := t.log.With("action", r.Action.ID, "kind", r.Action.Kind, "agent", r.Action.Target.Agent, "status", r.Status, "detail", r.last().Detail)
	if r.Action.Kind == command.Page && (r.Status == command.Unverified || r.Status == command.Failed) {
		log.Error("page not delivered", "reason", r.Action.Reason)
		return
	}
	log.Info("action moved")
}

// settle does everything that the record of the action owes to the world.
func (t *Triage) settle(ctx context.Context, b *bus, action string) error {
	for {
		r, rev, err := load[record](ctx, b.records, command.ActionKey(action))
		if err != nil || rev == 0 {
			return err
		}
		if !r.owes() {
			return nil
		}
		if err := t.work(ctx, b, &r, &rev); !errors.Is(err, errConflict) {
			return err
		}
	}
}

// work does what r owes: first what stops the agent, then what tells of it.
func (t *Triage) work(ctx context.Context, b *bus, r *record, rev *uint64) error {
	if r.toHold() || r.toRelease() {
		if err := t.at("posture"); err != nil {
			return err
		}
		s := r.standing()
		set := func() error { return t.hold(ctx, b, r, s) }
		if s == "" {
			set = func() error { return t.release(ctx, b, r) }
		}
		if err := set(); err != nil {
			return err
		}
		r.Posture = s
	}
	for r.toSend() {
		if err := t.send(ctx, b, r, rev); err != nil {
			return err
		}
	}
	if s := r.Action.Kind.Standing(); s != "" && r.Status == command.Commanded {
		// The posture is all there is to it.
		held, err := t.readBack(ctx, b, r)
		switch {
		case err != nil:
			return err
		case held:
			r.move(t.now(), command.Verified, "the posture reads "+describe(s, r.Action.Limits), "")
		default:
			r.move(t.now(), command.Unverified, "the posture does not hold the agent: more than it has room for do already", "")
		}
		if err := t.put(ctx, b, r, rev); err != nil {
			return err
		}
		t.moved(r)
	}
	if r.toNote() {
		if err := t.note(ctx, b, r); err != nil {
			return err
		}
	}
	for r.Logged < len(r.Log) {
		if err := t.tell(ctx, b, r); err != nil {
			return err
		}
	}
	for r.Followed < len(r.Follow) {
		if err := t.at("follow"); err != nil {
			return err
		}
		if err := t.apply(ctx, b, r.next(r.Follow[r.Followed], t.now())); err != nil {
			return err
		}
		r.Followed++
	}
	if err := t.arm(ctx, b, r); err != nil {
		return err
	}
	if err := t.at("settled"); err != nil {
		return err
	}
	return t.put(ctx, b, r, rev)
}

// send publishes the next attempt of r's command, as the package comment says.
func (t *Triage) send(ctx context.Context, b *bus, r *record, rev *uint64) error {
	m, err := command.EncodeAction(b.signer, r.Action, r.Attempt)
	if err != nil {
		return err
	}
	if r.After == nil {
		last, err := b.last(ctx, m.Subject)
		if err != nil {
			return err
		}
		r.After = &last
		if err := t.at("intent"); err != nil {
			return err
		}
		if err := t.put(ctx, b, r, rev); err != nil {
			return err
		}
	}
	if err := t.at("publish"); err != nil {
		return err
	}
	seq, err := b.publishAfter(ctx, m, *r.After)
	if err != nil {
		return err
	}
	if err := t.at("published"); err != nil {
		return err
	}
	r.After = nil
	if seq != 0 {
		r.Sent = r.Attempt
	}
	return nil
}

// tell publishes the next outcome of r.
func (t *Triage) tell(ctx context.Context, b *bus, r *record) error {
	m, err := command.EncodeOutcome(b.signer, r.outcome(r.Logged))
	if err != nil {
		return err
	}
	if err := t.at("outcome"); err != nil {
		return err
	}
	seq, err := b.publishAfter(ctx, m, r.LogSeq)
	if err != nil {
		return err
	}
	if seq == 0 { // those before have aged out, or the record is younger than the stream
		r.LogSeq, err = b.last(ctx, m.Subject)
		return err
	}
	r.LogSeq = seq
	r.Logged++
	return nil
}
