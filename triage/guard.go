package triage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// admit asks the guards and moves r to its first status, or to a firmer one than
// it has. What a guard grants is reserved under the action's id, so asking again
// costs nothing more.
func (t *Triage) admit(ctx context.Context, b *bus, r *record, p proposal) error {
	policy, now := t.policy.Load(), t.now()
	v, err := t.guard(ctx, b, policy, p, now)
	if err != nil {
		return err
	}
	if r.was(v.status) || v.status == command.Shadowed && r.Status == command.Held {
		return nil
	}
	r.Action, r.Ladder = p.Action, p.Ladder
	if v.approvers != nil {
		r.Action.Mode, r.Ladder = command.Approve, slices.Clone(p.Ladder)
		r.Ladder[0].Mode, r.Ladder[0].Approvers = command.Approve, v.approvers
	}
	r.move(now, v.status, v.why, "")
	return nil
}

// A verdict is what the guards make of an action.
type verdict struct {
	status    command.Status
	why       string   // it is not commanded
	approvers []string // who decides, where the policy wanted it to go by itself
}

// commanded is the verdict that lets an action go.
func commanded() verdict { return verdict{status: command.Commanded} }

// guard stands between what the policy wants and a command.
func (t *Triage) guard(ctx context.Context, b *bus, policy *Policy, p proposal, now time.Time) (verdict, error) {
	no := func(s command.Status, format string, a ...any) (verdict, error) {
		return verdict{status: s, why: fmt.Sprintf(format, a...)}, nil
	}
	a := p.Action
	contains := a.Kind.Contains()
	untrusted, forbidden := policy.forbids(a)
	switch age := now.Sub(p.Event.Time()); {
	case a.Kind == command.Canary:
		return commanded(), nil
	case a.Mode == command.Shadow:
		return no(command.Shadowed, "the policy is in shadow mode")
	case policy.KillSwitch:
		return no(command.Shadowed, "the kill switch is on")
	case p.Event != 0 && age > policy.maxAge():
		return no(command.Shadowed, "the event is %s old, the policy acts on at most %s", age.Round(time.Second), policy.maxAge())
	case p.Undid != "":
		return no(command.Held, "operator %s undid it", p.Undid)
	case lacks(a) != "":
		return no(command.Held, "the finding names no %s", lacks(a))
	case a.Mode == command.Approve:
		return verdict{status: command.Waiting}, nil
	case contains && policy.protects(a.Target.Agent):
		return no(command.Held, "the agent is protected")
	case forbidden:
		v := verdict{status: command.Held, why: untrusted}
		if len(policy.Brake.Approvers) > 0 {
			v.status, v.approvers = command.Waiting, policy.Brake.Approvers
		}
		return v, nil
	case a.Kind == command.Watch:
		return commanded(), nil
	}
	return t.reserve(ctx, b, policy, a, now, false)
}

// reserve takes a place in the budgets of tenant and fleet and begins the agent's
// cooldown. An action that a person approved is counted, but not held back.
func (t *Triage) reserve(ctx context.Context, b *bus, policy *Policy, a command.Action, now time.Time, approved bool) (verdict, error) {
	no := func(format string, a ...any) (verdict, error) {
		return verdict{status: command.Held, why: fmt.Sprintf(format, a...)}, nil
	}
	if !approved {
		br, on, err := t.braked(ctx, b, a, now)
		if err != nil {
			return verdict{}, err
		}
		if on {
			return behind(policy.Brake, br), nil
		}
	}
	cooled := a.Kind.Contains() && policy.Cooldown > 0
	key := "cooldown." + string(a.Kind) + "." + command.Token(a.Target.Agent)
	if cooled && !approved {
		c, _, err := load[cooldown](ctx, b.records, key)
		if err != nil {
			return verdict{}, err
		}
		if c.holds(a.ID, now, policy.Cooldown) {
			return no("the agent is cooling down: action %s was commanded %s ago", c.Action, now.Sub(c.Since.Time()).Round(time.Second))
		}
	}
	limit, ok := policy.budget(a.Kind)
	if !ok { // taken out of the policy meanwhile
		return no("the policy has no budget for it")
	}
	// The tenant's first: what one tenant has too many of costs the fleet nothing.
	for _, part := range limit.parts(a) {
		granted, err := t.spend(ctx, b, part, a, now, approved)
		if err != nil {
			return verdict{}, err
		}
		if !granted {
			return t.exhausted(ctx, b, policy.Brake, part, a, now)
		}
	}
	if cooled {
		if err := mark(ctx, b.records, key, cooldown{Action: a.ID, Since: event.At(now)}); err != nil {
			return verdict{}, err
		}
	}
	return commanded(), nil
}

// exhausted is what becomes of an action for which a budget has no place.
func (t *Triage) exhausted(ctx context.Context, b *bus, p BrakePolicy, s share, a command.Action, now time.Time) (verdict, error) {
	why := fmt.Sprintf("the budget of %d per %s is exhausted", s.max, s.per)
	switch {
	case s.tenant != "":
		why = fmt.Sprintf("the budget of %d per %s for tenant %s is exhausted", s.max, s.per, cut(s.tenant, 128))
	case a.Kind == command.Page:
		why += "; it is folded into the next page"
	}
	if p.For == 0 || !a.Kind.Contains() {
		return verdict{status: command.Held, why: why}, nil
	}
	if err := t.trip(ctx, b, p, a, s.tenant, why, now); err != nil {
		return verdict{}, err
	}
	br, on, err := t.braked(ctx, b, a, now)
	if err != nil || !on { // released meanwhile: held back this once
		return verdict{status: command.Held, why: why}, err
	}
	return behind(p, br), nil
}

// A share is one of the budgets that an action has to have a place in.
type share struct {
	tenant string // empty: of the whole fleet
	max    int
	per    time.Duration
}

// parts lists the budgets for an action: that of its tenant, where tenants have
// one, and that of the fleet.
func (l Budget) parts(a command.Action) []share {
	fleet := share{"", l.Max, l.Per}
	if l.PerTenant == 0 || a.Target.Tenant == "" {
		return []share{fleet}
	}
	return []share{{a.Target.Tenant, l.PerTenant, l.Per}, fleet}
}

// A cooldown is the last containment of one agent by one kind of action.
type cooldown struct {
	Action string          `json:"action"`
	Since  event.Timestamp `json:"since"`
}

func (c cooldown) holds(action string, now time.Time, d time.Duration) bool {
	return c.Action != "" && c.Action != action && now.Sub(c.Since.Time()) < d
}

// A spending is what was commanded of one kind lately, and of pages what was not.
type spending struct {
	Slots []slot `json:"slots"` // oldest first

	Folds  int            `json:"folds,omitempty"`  // folded pages that were made so far
	More   int            `json:"more,omitempty"`   // pages beyond the budget since the last of them
	Known  []string       `json:"known,omitempty"`  // ids of the last of those
	Latest command.Action `json:"latest,omitzero"`  // the last of those
	Outbox *proposal      `json:"outbox,omitempty"` // the folded page that is being made
}

type slot struct {
	Action string          `json:"action"`
	Time   event.Timestamp `json:"time"`
}

// prune forgets what has left the window.
func (s *spending) prune(now time.Time, per time.Duration) {
	s.Slots = slices.DeleteFunc(s.Slots, func(x slot) bool { return now.Sub(x.Time.Time()) >= per })
}

// spend takes a place in the budget, in a single winner's way for all triage processes.
func (t *Triage) spend(ctx context.Context, b *bus, limit share, a command.Action, now time.Time, approved bool) (bool, error) {
	key := spendingKey(a.Kind, limit.tenant)
	for {
		s, rev, err := load[spending](ctx, b.records, key)
		if err != nil {
			return false, err
		}
		s.prune(now, limit.per)
		if slices.ContainsFunc(s.Slots, func(x slot) bool { return x.Action == a.ID }) {
			return true, nil
		}
		granted := approved || len(s.Slots) < limit.max
		switch {
		case granted:
			s.Slots = append(s.Slots, slot{a.ID, event.At(now)})
		case a.Kind != command.Page || limit.tenant != "" || slices.Contains(s.Known, a.ID):
			return false, nil
		default:
			s.More++
			s.Latest = a
			s.Known = append(s.Known, a.ID)
			s.Known = s.Known[max(0, len(s.Known)-maxHistory):]
			if err := mark(ctx, b.records, timerKey(foldTimer), timer{Due: s.Slots[0].Time + event.Timestamp(limit.per)}); err != nil {
				return false, err
			}
		}
		switch _, err := save(ctx, b.records, key, s, rev); {
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return false, err
		}
		if !granted && a.Kind == command.Page {
			t.metrics.folded.Inc()
		}
		return granted, nil
	}
}

func spendingKey(k command.Kind, tenant string) string {
	if tenant == "" {
		return "budget." + string(k)
	}
	return "budget." + string(k) + ".tenant." + command.Token(tenant)
}

// foldTimer is the timer of the page that stands for those beyond the budget.
const foldTimer = "fold"

// fold makes one page of all that were beyond the budget, as soon as the budget
// has room again. It reports when to look again; 0 when nothing is left to fold.
func (t *Triage) fold(ctx context.Context, b *bus) (event.Timestamp, error) {
	key := spendingKey(command.Page, "")
	for {
		now := t.now()
		limit, _ := t.policy.Load().budget(command.Page)
		s, rev, err := load[spending](ctx, b.records, key)
		if err != nil {
			return 0, err
		}
		if p := s.Outbox; p != nil {
			if err := t.apply(ctx, b, *p); err != nil {
				return 0, err
			}
			s.Outbox = nil
			if _, err := save(ctx, b.records, key, s, rev); err != nil && !errors.Is(err, errConflict) {
				return 0, err
			}
			continue
		}
		if s.More == 0 {
			return 0, nil
		}
		s.prune(now, limit.Per)
		if len(s.Slots) >= limit.Max {
			return s.Slots[0].Time + event.Timestamp(limit.Per), nil
		}
		step := lastPage()
		a := s.Latest
		a.ID = hash("fold", a.ID, fmt.Sprint(s.Folds))
		a.Mode, a.Decided, a.Expires = step.Mode, event.At(now), event.At(now.Add(step.expires()))
		a.Reason = cut(fmt.Sprintf("%d more pages were held back by the budget of %d per %s. The last: %s", s.More, limit.Max, limit.Per, a.Reason), maxText)
		s.Slots = append(s.Slots, slot{a.ID, event.At(now)})
		s.Outbox = &proposal{Action: a, Ladder: []Step{step}}
		s.Folds, s.More, s.Known, s.Latest = s.Folds+1, 0, nil, command.Action{}
		if _, err := save(ctx, b.records, key, s, rev); err != nil && !errors.Is(err, errConflict) {
			return 0, err
		}
	}
}
