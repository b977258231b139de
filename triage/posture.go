package triage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// hold lets enforcement points know what the action of r calls for. While it
// lasts it is never eased, only renewed or tightened.
func (t *Triage) hold(ctx context.Context, b *bus, r *record, s command.Standing) error {
	return t.setPosture(ctx, b, r.Action.Target.Agent, func(p *command.Posture, now time.Time) bool {
		until := event.At(now.Add(t.policy.Load().postureFor()))
		if r.Lease != 0 {
			until = r.Lease
		}
		next := command.Hold{Action: r.Action.ID, Standing: s, Limits: r.Action.Limits, Reason: r.Action.Reason, Incident: r.Action.Incident, Since: event.At(now), Expires: until}
		i := slices.IndexFunc(p.Holds, func(h command.Hold) bool { return h.Action == r.Action.ID })
		if i < 0 {
			p.Holds = append(p.Holds, next)
			return true
		}
		if h := p.Holds[i]; h.Standing.Rank() >= s.Rank() {
			return false
		}
		p.Holds[i] = next
		return true
	})
}

// readBack looks whether what an enforcement point reads by now holds the agent
// as the action of r calls for. Nothing counts as verified that only was sent.
func (t *Triage) readBack(ctx context.Context, b *bus, r *record) (bool, error) {
	p, _, err := t.loadPosture(ctx, b, command.Token(r.Action.Target.Agent))
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(p.Holds, func(h command.Hold) bool {
		return h.Action == r.Action.ID && h.Standing.Rank() >= r.standing().Rank() && event.At(t.now()) < h.Expires
	}), nil
}

// release ends what the action of r called for.
func (t *Triage) release(ctx context.Context, b *bus, r *record) error {
	return t.setPosture(ctx, b, r.Action.Target.Agent, func(p *command.Posture, _ time.Time) bool {
		n := len(p.Holds)
		p.Holds = slices.DeleteFunc(p.Holds, func(h command.Hold) bool { return h.Action == r.Action.ID })
		return len(p.Holds) < n
	})
}

// setRisk lets enforcement points know how an agent's risk stands.
func (t *Triage) setRisk(ctx context.Context, b *bus, agent string, at command.Risk) error {
	return t.setPosture(ctx, b, agent, func(p *command.Posture, _ time.Time) bool {
		if p.Risk != nil && p.Risk.Time >= at.Time {
			return false
		}
		p.Risk = &at
		return true
	})
}

// setPosture lets fn change the posture of the agent, and works out what follows.
func (t *Triage) setPosture(ctx context.Context, b *bus, agent string, fn func(p *command.Posture, now time.Time) (changed bool)) error {
	key := command.Token(agent)
	for {
		now := t.now()
		p, rev, err := t.loadPosture(ctx, b, key)
		if err != nil {
			return err
		}
		before := p.Standing
		if !fn(&p, now) {
			return nil
		}
		p.Agent = agent
		weigh(&p, now)
		switch err := savePosture(ctx, b, key, p, rev); {
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return err
		}
		if p.Standing != before {
			t.log.Info("posture set", "agent", agent, "standing", p.Standing, "incident", p.Incident)
		}
		return nil
	}
}

// weigh puts the hold that decides first and makes the posture of it. Beyond the
// bound those go that matter least.
func weigh(p *command.Posture, now time.Time) {
	at := event.At(now)
	p.Holds = slices.DeleteFunc(p.Holds, func(h command.Hold) bool { return h.Expires <= at })
	slices.SortStableFunc(p.Holds, func(a, b command.Hold) int {
		return cmp.Or(b.Standing.Rank()-a.Standing.Rank(), cmp.Compare(b.Expires, a.Expires))
	})
	p.Holds = p.Holds[:min(len(p.Holds), command.MaxHolds)]
	worst := command.Hold{Standing: command.Normal, Since: at, Expires: at}
	if len(p.Holds) > 0 {
		worst = p.Holds[0]
	}
	if p.Standing != worst.Standing || worst.Since < p.Since {
		p.Since = worst.Since
	}
	p.Standing, p.Reason, p.Incident, p.Expires = worst.Standing, worst.Reason, worst.Incident, worst.Expires
	// Clocks of two triage processes differ: a later value is never set earlier.
	p.Set = max(at, p.Set+1)
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

// describe says in a sentence what a posture denies.
func describe(s command.Standing, l *command.Limits) string {
	switch {
	case l == nil:
		return string(s)
	case l.Approval:
		return string(s) + ", and what changes the world needs a person's approval"
	case l.Session != "":
		return string(s) + ", and session " + cut(l.Session, 128) + " is over"
	case len(l.Tools) > 0:
		return string(s) + ", and denies " + cut(list(l.Tools), 256)
	case len(l.Scopes) > 0:
		return string(s) + ", and leaves " + cut(list(l.Scopes), 256)
	}
	return string(s)
}
