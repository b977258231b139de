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
	s, why, err := t.guard(ctx, b, policy, p, now)
	if err != nil {
		return err
	}
	if r.was(s) || s == command.Shadowed && r.Status == command.Held {
		return nil
	}
	r.Action, r.Ladder = p.Action, p.Ladder
	r.move(now, s, why, "")
	return nil
}

// guard stands between what the policy wants and a command. It returns the
// status an action gets, and why it is not commanded.
func (t *Triage) guard(ctx context.Context, b *bus, policy *Policy, p proposal, now time.Time) (command.Status, string, error) {
	a := p.Action
	contains := a.Kind.Contains()
	switch age := now.Sub(p.Event.Time()); {
	case a.Mode == command.Shadow:
		return command.Shadowed, "the policy is in shadow mode", nil
	case policy.KillSwitch:
		return command.Shadowed, "the kill switch is on", nil
	case p.Event != 0 && age > policy.maxAge():
		return command.Shadowed, fmt.Sprintf("the event is %s old, the policy acts on at most %s", age.Round(time.Second), policy.maxAge()), nil
	case p.Undid != "":
		return command.Held, "operator " + p.Undid + " undid it", nil
	case a.Kind == command.RevokeToken && a.Target.Credential == "":
		return command.Held, "the finding names no credential that could be revoked", nil
	case a.Mode == command.Approve:
		return command.Waiting, "", nil
	case contains && policy.protects(a.Target.Agent):
		return command.Held, "the agent is protected", nil
	case a.Kind == command.Watch:
		return command.Commanded, "", nil
	}
	return t.reserve(ctx, b, policy, a, now, false)
}

// reserve takes a place in the budget and begins the agent's cooldown. An
// action that a person approved is counted, but not held back.
func (t *Triage) reserve(ctx context.Context, b *bus, policy *Policy, a command.Action, now time.Time, approved bool) (command.Status, string, error) {
	cooled := a.Kind.Contains() && policy.Cooldown > 0
	key := "cooldown." + string(a.Kind) + "." + command.Token(a.Target.Agent)
	if cooled && !approved {
		c, _, err := load[cooldown](ctx, b.records, key)
		if err != nil {
			return "", "", err
		}
		if c.holds(a.ID, now, policy.Cooldown) {
			return command.Held, fmt.Sprintf("the agent is cooling down: action %s was commanded %s ago", c.Action, now.Sub(c.Since.Time()).Round(time.Second)), nil
		}
	}
	limit, ok := policy.budget(a.Kind)
	if !ok { // taken out of the policy meanwhile
		return command.Held, "the policy has no budget for it", nil
	}
	granted, err := t.spend(ctx, b, limit, a, now, approved)
	if err != nil {
		return "", "", err
	}
	if !granted {
		why := fmt.Sprintf("the budget of %d per %s is exhausted", limit.Max, limit.Per)
		if a.Kind == command.Page {
			why += "; it is folded into the next page"
		}
		return command.Held, why, nil
	}
	if cooled {
		if err := mark(ctx, b.records, key, cooldown{Action: a.ID, Since: event.At(now)}); err != nil {
			return "", "", err
		}
	}
	return command.Commanded, "", nil
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
func (s *spending) prune(now time.Time, limit Budget) {
	s.Slots = slices.DeleteFunc(s.Slots, func(x slot) bool { return now.Sub(x.Time.Time()) >= limit.Per })
}

// spend takes a place in the budget, in a single winner's way for all triage processes.
func (t *Triage) spend(ctx context.Context, b *bus, limit Budget, a command.Action, now time.Time, approved bool) (bool, error) {
	key := spendingKey(a.Kind)
	for {
		s, rev, err := load[spending](ctx, b.records, key)
		if err != nil {
			return false, err
		}
		s.prune(now, limit)
		if slices.ContainsFunc(s.Slots, func(x slot) bool { return x.Action == a.ID }) {
			return true, nil
		}
		granted := approved || len(s.Slots) < limit.Max
		switch {
		case granted:
			s.Slots = append(s.Slots, slot{a.ID, event.At(now)})
		case a.Kind != command.Page || slices.Contains(s.Known, a.ID):
			return false, nil
		default:
			s.More++
			s.Latest = a
			s.Known = append(s.Known, a.ID)
			s.Known = s.Known[max(0, len(s.Known)-maxHistory):]
			if err := mark(ctx, b.records, timerKey(foldTimer), timer{Due: s.Slots[0].Time + event.Timestamp(limit.Per)}); err != nil {
				return false, err
			}
		}
		switch _, err := save(ctx, b.records, key, s, rev); {
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return false, err
		}
		if !granted {
			t.metrics.folded.Inc()
		}
		return granted, nil
	}
}

func spendingKey(k command.Kind) string { return "budget." + string(k) }

// foldTimer is the timer of the page that stands for those beyond the budget.
const foldTimer = "fold"

// fold makes one page of all that were beyond the budget, as soon as the budget
// has room again. It reports when to look again; 0 when nothing is left to fold.
func (t *Triage) fold(ctx context.Context, b *bus) (event.Timestamp, error) {
	key := spendingKey(command.Page)
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
		s.prune(now, limit)
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
