package triage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// setPosture lets enforcement points know how the agent of r stands. A posture
// in force is never eased, only renewed or tightened; it ends by its expiry.
func (t *Triage) setPosture(ctx context.Context, b *bus, r *record, s command.Standing) error {
	key := command.Token(r.Action.Target.Agent)
	for {
		now := t.now()
		p, rev, err := t.loadPosture(ctx, b, key)
		if err != nil {
			return err
		}
		inForce := now.Before(p.Expires.Time())
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
		// Clocks of two triage processes differ: a later value is never set earlier.
		next.Set = max(event.At(now), p.Set+1)
		switch err := savePosture(ctx, b, key, next, rev); {
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return err
		}
		t.log.Info("posture set", "agent", next.Agent, "standing", s, "incident", next.Incident)
		return nil
	}
}

// loadPosture reads the posture under key. One that triage did not sign counts
// as none, and is replaced.
func (t *Triage) loadPosture(ctx context.Context, b *bus, key string) (p command.Posture, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	e, err := b.postures.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return p, 0, nil
	case err != nil:
		return p, 0, fmt.Errorf("read %s of %s: %w", key, b.postures.Bucket(), err)
	}
	p, err = command.OpenPosture(t.cfg.Trust.With(b.signer.Public()), key, e.Value())
	if err != nil {
		t.log.Error("posture that triage did not set is replaced", "err", err)
		return command.Posture{}, e.Revision(), nil
	}
	return p, e.Revision(), nil
}

func savePosture(ctx context.Context, b *bus, key string, p command.Posture, revision uint64) error {
	value, err := command.SealPosture(b.signer, key, p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	if revision == 0 {
		_, err = b.postures.Create(ctx, key, value)
	} else {
		_, err = b.postures.Update(ctx, key, value, revision)
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyExists) || wrongSequence(err):
		return errConflict
	case err != nil:
		return fmt.Errorf("write %s of %s: %w", key, b.postures.Bucket(), err)
	}
	return nil
}

// beats is how often triage says that it is alive. Enforcement points take a
// feed for stale when they miss several of them.
const beats = 2 * time.Second

// beat says so until ctx ends.
func (t *Triage) beat(ctx context.Context, b *bus) {
	tick := time.NewTicker(beats)
	defer tick.Stop()
	for {
		if err := t.beatOnce(ctx, b); err != nil && ctx.Err() == nil {
			t.log.Warn("enforcement points are not told that triage is alive", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (t *Triage) beatOnce(ctx context.Context, b *bus) error {
	now := event.At(t.now())
	value, err := command.SealPosture(b.signer, command.BeatKey, command.Posture{Standing: command.Normal, Since: now, Set: now, Expires: now})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	_, err = b.postures.Put(ctx, command.BeatKey, value)
	return err
}
