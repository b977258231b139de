package triage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// BrakePolicy says what happens when the budget of a kind that takes something
// away is exhausted. An attacker, a bad rule and a bad deployment look alike
// then: so many agents at once are rather a mistake, and a person has to look.
type BrakePolicy struct {
	// For is how long what would go by itself waits for a person, unless an
	// operator releases the brake earlier. Zero has no brake: beyond the budget
	// actions are held back, and go on when the window has moved.
	For time.Duration `yaml:"for"`

	// Approvers are the public signing keys of those who may approve what the
	// brake holds back, and release the brake. Without any, it is held back
	// altogether, and every operator may release the brake.
	Approvers []string `yaml:"approvers"`
}

func (v *problems) brake(p BrakePolicy) {
	if p.For != 0 {
		v.atLeast("brake.for", p.For, time.Second)
	}
	for i, key := range p.Approvers {
		if !nkeys.IsValidPublicAccountKey(key) {
			v.add("brake.approvers[%d]: is %.80q, want a public nkey of type account (A...)", i, key)
		}
	}
}

func brakeKey(k command.Kind, tenant string) string {
	return command.BrakePrefix + command.BrakeID(k, tenant)
}

// braked returns the brake that holds an action, if one does: for all kinds or
// for its own, for everybody or for its tenant.
func (t *Triage) braked(ctx context.Context, b *bus, a command.Action, now time.Time) (command.Brake, bool, error) {
	if !a.Kind.Contains() {
		return command.Brake{}, false, nil
	}
	keys := []string{brakeKey("", ""), brakeKey(a.Kind, "")}
	if a.Target.Tenant != "" {
		keys = append(keys, brakeKey("", a.Target.Tenant), brakeKey(a.Kind, a.Target.Tenant))
	}
	for _, key := range keys {
		br, _, err := load[command.Brake](ctx, b.records, key)
		if err != nil {
			return br, false, err
		}
		if br.Holds(event.At(now)) {
			return br, true, nil
		}
	}
	return command.Brake{}, false, nil
}

// trip pulls the brake because an action was more than the budget.
func (t *Triage) trip(ctx context.Context, b *bus, p BrakePolicy, a command.Action, tenant, why string, now time.Time) error {
	key := brakeKey(a.Kind, tenant)
	for {
		br, rev, err := load[command.Brake](ctx, b.records, key)
		if err != nil || br.Holds(event.At(now)) {
			return err
		}
		br = command.Brake{Kind: a.Kind, Tenant: tenant, On: true, Since: event.At(now), Until: event.At(now.Add(p.For)), Why: why, Action: a.ID}
		if err := t.at("brake"); err != nil {
			return err
		}
		switch _, err := save(ctx, b.records, key, br, rev); {
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return err
		}
		t.metrics.brakes.WithLabelValues("tripped").Inc()
		t.log.Error("brake tripped", "kind", a.Kind, "tenant", tenant, "why", why, "action", a.ID, "until", br.Until)
		return nil
	}
}

// behind is what becomes of an action that a brake holds: it waits for those who
// may decide, and where the policy names none it is held back.
func behind(p BrakePolicy, br command.Brake) verdict {
	until := "until an operator releases it"
	if br.Until != 0 {
		until = fmt.Sprintf("until %s, or until an operator releases it", br.Until)
	}
	v := verdict{command.Held, fmt.Sprintf("the brake is on %s: %s", until, br.Why), nil}
	if len(p.Approvers) > 0 {
		v.status, v.approvers = command.Waiting, p.Approvers
	}
	return v
}

// braked reports whether r has waited in vain for a person because of a brake,
// or of a source that was not trusted, and would go by itself otherwise.
func (r *record) braked(p proposal) bool {
	return r.Status == command.Expired && r.Action.Mode == command.Approve && p.Action.Mode == command.Auto
}

// decideBrake pulls or releases a brake because an operator says so. Releasing
// it says too that what was commanded so far was right: the window is empty then.
func (t *Triage) decideBrake(ctx context.Context, b *bus, a command.Approval, operator string) (string, error) {
	if approvers := t.policy.Load().Brake.Approvers; a.Decision == command.Release && len(approvers) > 0 && !slices.Contains(approvers, operator) {
		return "not entitled", nil
	}
	key := brakeKey(a.Kind, a.Tenant)
	for {
		now := t.now()
		br, rev, err := load[command.Brake](ctx, b.records, key)
		if err != nil {
			return "", err
		}
		if a.Time <= br.Since { // said about an earlier turn of this brake, and played again
			return "late", nil
		}
		pull := a.Decision == command.Pull
		if br.Holds(event.At(now)) == pull && (!pull || br.Until == 0) {
			return "duplicate", nil
		}
		if !pull {
			if err := t.refill(ctx, b, a.Kind, a.Tenant); err != nil {
				return "", err
			}
		}
		br = command.Brake{Kind: a.Kind, Tenant: a.Tenant, On: pull, Since: event.At(now), Operator: operator,
			Why: cut(cmp.Or(a.Why, "an operator decided so"), maxText)}
		switch _, err := save(ctx, b.records, key, br, rev); {
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return "", err
		}
		result := map[bool]string{true: "pulled", false: "released"}[pull]
		t.metrics.brakes.WithLabelValues(result).Inc()
		return result, nil
	}
}

// refill empties the window of a budget.
func (t *Triage) refill(ctx context.Context, b *bus, k command.Kind, tenant string) error {
	if k == "" {
		return nil
	}
	key := spendingKey(k, tenant)
	for {
		s, rev, err := load[spending](ctx, b.records, key)
		if err != nil || rev == 0 {
			return err
		}
		s.Slots = nil
		if _, err := save(ctx, b.records, key, s, rev); !errors.Is(err, errConflict) {
			return err
		}
	}
}
