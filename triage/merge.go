package triage

import (
	"context"
	"errors"

	"github.com/stakeout-project/stakeout/triage/command"
)

// root returns the incident that the one with the id has become part of, or
// itself; one without an id where there is none. On its way it completes what
// a process left undone.
func (t *Triage) root(ctx context.Context, b *bus, id string) (*incident, error) {
	if id == "" {
		return &incident{}, nil
	}
	for {
		i, err := loadIncident(ctx, b, id)
		if err != nil || i.Into == "" {
			return i, err
		}
		if !i.Absorbed {
			if err := t.absorb(ctx, b, i); err != nil {
				return nil, err
			}
		}
		id = i.Into
	}
}

// merge makes one incident of two, and returns it.
func (t *Triage) merge(ctx context.Context, b *bus, x, y *incident) (*incident, error) {
	if y.before(x) {
		x, y = y, x
	}
	for {
		later, err := loadIncident(ctx, b, y.ID)
		switch {
		case err != nil:
			return nil, err
		case !later.open(): // closed or merged by somebody else
			return t.root(ctx, b, x.ID)
		case len(later.Outbox) > 0: // afterwards nobody looks at it any more
			if err := t.empty(ctx, b, later); err != nil {
				return nil, err
			}
			continue
		}
		later.Into = x.ID
		if err := t.at("merge"); err != nil {
			return nil, err
		}
		switch err := saveIncident(ctx, b, later); {
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return nil, err
		}
		if err := t.absorb(ctx, b, later); err != nil {
			return nil, err
		}
		return t.root(ctx, b, x.ID)
	}
}

// absorb completes the merge of an incident into another one.
func (t *Triage) absorb(ctx context.Context, b *bus, later *incident) error {
	for {
		first, err := t.root(ctx, b, later.Into)
		if err != nil {
			return err
		}
		if first.absorb(later) {
			if first.Closed && later.Count > 0 { // nobody has looked at what comes in
				first.Closed, first.Verdict = false, ""
			}
			if err := t.at("absorb"); err != nil {
				return err
			}
			switch err := saveIncident(ctx, b, first); {
			case errors.Is(err, errConflict):
				continue
			case err != nil:
				return err
			}
			t.metrics.merged.Inc()
			t.log.Info("incidents merged", "incident", later.ID, "into", first.ID)
		}
		if err := t.tellMerge(ctx, b, later, first); err != nil {
			return err
		}
		later.Absorbed = true
		if err := saveIncident(ctx, b, later); err != nil && !errors.Is(err, errConflict) {
			return err
		}
		return nil
	}
}

// tellMerge tells of the incident that went, and of the one that has grown by it.
// One that no finding had joined yet is nothing to tell.
func (t *Triage) tellMerge(ctx context.Context, b *bus, later, first *incident) error {
	if later.Count == 0 {
		return nil
	}
	for _, i := range []*incident{later, first} {
		c := command.Case{Incident: i.public(), Change: command.Merged, Time: eventNow(t)}
		if err := t.tellCase(ctx, b, i, c, hash(i.ID, "merged", later.ID)); err != nil {
			return err
		}
	}
	return nil
}
