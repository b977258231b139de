package triage

import (
	"context"
	"errors"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// setPosture lets enforcement points know how the agent of r stands. A posture
// in force is never eased, only renewed or tightened; it ends by its expiry.
func (t *Triage) setPosture(ctx context.Context, b *bus, r *record, s command.Standing) error {
	key := command.Token(r.Action.Target.Agent)
	for {
		now := t.now()
		p, rev, err := load[command.Posture](ctx, b.postures, key)
		if err != nil {
			return err
		}
		inForce := rev != 0 && now.Before(p.Expires.Time())
		if inForce && (p.Standing.Rank() > s.Rank() || p.Standing == s && p.Incident == r.Action.Incident) {
			return nil
		}
		next := command.Posture{
			Agent: r.Action.Target.Agent, Standing: s, Reason: r.Action.Reason, Incident: r.Action.Incident,
			Since: event.At(now), Expires: event.At(now.Add(t.policy.Load().postureFor())),
		}
		if inForce && p.Standing == s {
			next.Since = p.Since
		}
		switch _, err := save(ctx, b.postures, key, next, rev); {
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return err
		}
		t.log.Info("posture set", "agent", next.Agent, "standing", s, "incident", next.Incident)
		return nil
	}
}
