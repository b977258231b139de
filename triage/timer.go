package triage

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// A timer stands under its own key for every record with a Due. It says only
// when to look: what happens then is decided on the record.
type timer struct {
	Due   event.Timestamp `json:"due"`
	Since event.Timestamp `json:"since,omitempty"` // when the wait began
}

const timerPrefix = "timer."

func timerKey(id string) string { return timerPrefix + id }

// arm brings the timer of r up to date.
func (t *Triage) arm(ctx context.Context, b *bus, r *record) error {
	if r.Armed == r.Due {
		return nil
	}
	if err := t.at("timer"); err != nil {
		return err
	}
	if r.Due != 0 {
		if err := mark(ctx, b.records, timerKey(r.Action.ID), timer{Due: r.Due, Since: r.Since}); err != nil {
			return err
		}
	} else if err := t.disarm(ctx, b, r.Action.ID); err != nil {
		return err
	}
	r.Armed = r.Due
	return nil
}

// disarm removes the timer of an action that waits for nothing. Whoever makes
// the action wait again saves the record first and sets the timer then. So the
// timer is read before the record: if the record waits for nothing even now, a
// timer set later has another revision, and stays.
func (t *Triage) disarm(ctx context.Context, b *bus, action string) error {
	_, rev, err := load[timer](ctx, b.records, timerKey(action))
	if err != nil || rev == 0 {
		return err
	}
	r, _, err := load[record](ctx, b.records, command.ActionKey(action))
	if err != nil || r.Due != 0 {
		return err
	}
	return remove(ctx, b.records, timerKey(action), rev)
}

// remove deletes a key if its revision is still rev.
func remove(ctx context.Context, kv bucket, key string, rev uint64) error {
	ctx, cancel := context.WithTimeout(ctx, kv.timeout)
	defer cancel()
	err := kv.Delete(ctx, key, jetstream.LastRevision(rev))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) || wrongSequence(err) {
		return nil
	}
	return err
}

// timers are the timers of all triage processes, as this one knows them.
type timers struct {
	mu  sync.Mutex
	all map[string]timer
}

func (ts *timers) set(id string, x timer) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.all == nil {
		ts.all = map[string]timer{}
	}
	ts.all[id] = x
}

func (ts *timers) remove(id string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.all, id)
}

// due lists the timers whose time has come.
func (ts *timers) due(now time.Time) []string {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	var ids []string
	for id, x := range ts.all {
		if !now.Before(x.Due.Time()) {
			ids = append(ids, id)
		}
	}
	return ids
}

// oldest is how long the action has waited that has waited longest.
func (ts *timers) oldest(now time.Time) time.Duration {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	var age time.Duration
	for _, x := range ts.all {
		if x.Since != 0 {
			age = max(age, now.Sub(x.Since.Time()))
		}
	}
	return age
}

// watchTimers keeps t.timers up to date until ctx ends.
func (t *Triage) watchTimers(ctx context.Context, b *bus) {
	t.persist(ctx, "watch of timers interrupted", func() error {
		return follow(ctx, b.records, timerPrefix, t.timers.set, t.timers.remove, func() {})
	})
}

// sweep looks after the timers until ctx ends. All triage processes do; of those
// that come to the same record, the first one's compare-and-set wins.
func (t *Triage) sweep(ctx context.Context) {
	tick := time.NewTicker(t.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, id := range t.timers.due(t.now()) {
			if err := t.ring(ctx, id); err != nil && ctx.Err() == nil {
				t.log.Warn("timer put back", "action", id, "err", err)
				break // the next tick tries again
			}
		}
	}
}

// ring does what is to be done when the time of an action has come.
func (t *Triage) ring(ctx context.Context, id string) error {
	b, err := t.connect(ctx)
	if err != nil {
		return err
	}
	if id == foldTimer {
		return t.ringFold(ctx, b)
	}
	if strings.HasPrefix(id, riskPrefix) {
		return t.ringRisk(ctx, b, id)
	}
	result, err := t.change(ctx, b, id, func(r *record) (string, bool, error) {
		attempt := r.Attempt
		changed := r.tick(t.now(), t.policy.Load().KillSwitch)
		if r.Attempt > attempt && attempt > 0 {
			return "again", changed, nil
		}
		return "", changed, nil
	})
	if err != nil {
		return err
	}
	if result == "again" {
		t.metrics.retries.Inc()
	}
	// A timer of a record that waits for something else by now, or for nothing.
	r, rev, err := load[record](ctx, b.records, command.ActionKey(id))
	switch {
	case err != nil:
		return err
	case rev == 0 || r.Due == 0:
		return t.disarm(ctx, b, id)
	}
	t.timers.set(id, timer{Due: r.Due, Since: r.Since})
	return nil
}

func (t *Triage) ringFold(ctx context.Context, b *bus) error {
	_, rev, err := load[timer](ctx, b.records, timerKey(foldTimer))
	if err != nil || rev == 0 {
		return err
	}
	again, err := t.fold(ctx, b)
	if err != nil {
		return err
	}
	if again != 0 {
		return mark(ctx, b.records, timerKey(foldTimer), timer{Due: again})
	}
	return remove(ctx, b.records, timerKey(foldTimer), rev)
}
