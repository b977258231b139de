package triage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// tellFinding tells of a finding and of the incident that has grown by it. It
// may be told again: the message bears the same id, and whoever keeps cases
// knows a finding by its own.
func (t *Triage) tellFinding(ctx context.Context, b *bus, i *incident, f *detect.Finding, own *risk, past *recalled) error {
	if err := t.at("case"); err != nil {
		return err
	}
	d := dispose(t.policy.Load(), i, f, own, past, t.cfg.History.Window)
	if err := t.tellCase(ctx, b, i, command.Case{Incident: i.public(), Change: command.Grown, Time: eventNow(t), Disposition: d}, hash(i.ID, "grown", f.ID)); err != nil {
		return err
	}
	t.offer(i, f, d)
	return nil
}

func eventNow(t *Triage) event.Timestamp { return event.At(t.now()) }

func (t *Triage) tellCase(ctx context.Context, b *bus, i *incident, c command.Case, id string) error {
	m, err := command.EncodeCase(b.signer, c, id)
	if errors.Is(err, command.ErrTooLarge) { // of names that nobody would choose
		c.Incident.Threats, c.Incident.Detectors, c.Incident.Agents, c.Incident.Entities = nil, nil, nil, nil
		if c.Disposition != nil {
			c.Disposition = &command.Disposition{Finding: c.Disposition.Finding, Report: command.Report{Verdict: "insufficient_data", Confidence: "low",
				Recommend: []string{"Look at the finding: its names are too large to be told."}}}
		}
		m, err = command.EncodeCase(b.signer, c, id)
	}
	if err != nil {
		return fmt.Errorf("tell of incident %s: %w", i.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	if _, err := b.js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("tell of incident %s: %w", i.ID, err)
	}
	return nil
}

// decideCase closes or reopens an incident because an operator says so.
func (t *Triage) decideCase(ctx context.Context, b *bus, a command.Approval, operator string) (string, error) {
	for {
		i, err := loadIncident(ctx, b, a.Action)
		switch {
		case err != nil:
			return "", err
		case i.Count == 0:
			return "unknown", nil
		case i.Into != "": // it is more than the operator has looked at
			return "merged", nil
		case i.Closed == (a.Decision == command.Close):
			if i.Told == i.Turns {
				return "duplicate", nil
			}
		default:
			if a.Decision == command.Reopen {
				if free, err := t.reclaim(ctx, b, i); err != nil || !free {
					return "late", err
				}
			}
			i.Withdrawn = i.Verdict // of a closed one: an open one has none
			i.Closed, i.Verdict, i.By, i.Why = a.Decision == command.Close, a.Verdict, operator, cut(a.Why, maxText)
			i.Turns++
			i.Turned, i.Until = eventNow(t), a.Until
			if i.Acknowledged == 0 {
				i.Acknowledged = i.Turned
			}
			switch err := saveIncident(ctx, b, i); {
			case errors.Is(err, errConflict):
				continue
			case err != nil:
				return "", err
			}
		}
		if err := t.tellTurn(ctx, b, i); err != nil {
			return "", err
		}
		i.Told = i.Turns
		if err := saveIncident(ctx, b, i); err != nil && !errors.Is(err, errConflict) {
			return "", err
		}
		return string(a.Decision), nil
	}
}

// reclaim has the session of a closed incident lead to it again, unless the
// agent is in another open incident by now.
func (t *Triage) reclaim(ctx context.Context, b *bus, i *incident) (free bool, err error) {
	key := linksOf(&detect.Finding{Agent: i.Agent, Session: i.Session})[0].key
	for {
		p, rev, err := load[string](ctx, b.incidents, key)
		if err != nil {
			return false, err
		}
		other, err := t.root(ctx, b, p)
		switch {
		case err != nil:
			return false, err
		case other.ID == i.ID:
			return true, nil
		case other.open():
			return false, nil
		}
		if _, err := save(ctx, b.incidents, key, i.ID, rev); !errors.Is(err, errConflict) {
			return err == nil, err
		}
	}
}

// acknowledge notes on the incident of an action that a person has decided on it.
func (t *Triage) acknowledge(ctx context.Context, b *bus, id string) error {
	for {
		i, err := t.root(ctx, b, id)
		if err != nil || i.ID == "" {
			return err
		}
		if i.Acknowledged == 0 {
			i.Acknowledged = eventNow(t)
			switch err := saveIncident(ctx, b, i); {
			case errors.Is(err, errConflict):
				continue
			case err != nil:
				return err
			}
		}
		c := command.Case{Incident: i.public(), Change: command.Acknowledged, Time: i.Acknowledged}
		return t.tellCase(ctx, b, i, c, hash(i.ID, "acknowledged"))
	}
}

// tellTurn tells that an incident was closed or reopened, has the pages of a closed
// one taken back, and hands the verdict to detection.
func (t *Triage) tellTurn(ctx context.Context, b *bus, i *incident) error {
	c := command.Case{Incident: i.public(), Change: command.Reopened, Time: event.At(t.now())}
	turn := fmt.Sprint(i.Turns)
	if i.Closed && i.Until != 0 {
		if err := t.suppress(ctx, b, i, i.Until); err != nil {
			return err
		}
	}
	if i.Closed {
		c.Change = command.Closed
		for _, id := range append([]string{i.ID}, i.Merged...) { // each has pages of its own
			if err := t.apply(ctx, b, resolve(i, id, turn, t.now())); err != nil {
				return err
			}
		}
	}
	if err := t.tellCase(ctx, b, i, c, hash(i.ID, "turn", turn)); err != nil {
		return err
	}
	return t.calibrate(ctx, i)
}

// resolve takes back the pages of an incident that was closed, on its own or as
// part of the one it was merged into.
func resolve(i *incident, id, turn string, now time.Time) proposal {
	step := Step{Kind: command.Resolve, Mode: command.Auto, Retries: 3}
	return proposal{Ladder: []Step{step}, Action: command.Action{
		ID: hash(id, string(command.Resolve), turn), Incident: id, Kind: command.Resolve, Mode: command.Auto, Severity: int(i.Severity),
		Target: command.Target{Agent: i.Agent, Session: i.Session}, Policy: "closed", Reason: cut(fmt.Sprintf("closed as %s: %s", i.Verdict, i.Why), maxText),
		Occurred: i.First, Decided: event.At(now), Expires: event.At(now.Add(step.expires())),
	}}
}
