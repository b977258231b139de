package triage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// tellFinding tells of a finding and of the incident that has grown by it. It
// may be told again: the message bears the same id, and whoever keeps cases
// knows a finding by its own.
func (t *Triage) tellFinding(ctx context.Context, b *bus, key string, i *incident, f *detect.Finding) error {
	if err := t.at("case"); err != nil {
		return err
	}
	if err := mark(ctx, b.incidents, caseKey(i.ID), key); err != nil {
		return err
	}
	return t.tellCase(ctx, b, i, command.Case{Incident: i.public(), Change: command.Grown, Time: event.At(t.now()), Disposition: dispose(t.policy.Load(), i, f)}, hash(i.ID, "grown", f.ID))
}

// caseKey is where the key of an incident stands under its id.
func caseKey(incident string) string { return "case." + incident }

func (t *Triage) tellCase(ctx context.Context, b *bus, i *incident, c command.Case, id string) error {
	m, err := command.EncodeCase(b.signer, c, id)
	if errors.Is(err, command.ErrTooLarge) && c.Disposition != nil { // of names that nobody would choose
		c.Incident.Threats, c.Incident.Detectors = nil, nil
		c.Disposition = &command.Disposition{Finding: c.Disposition.Finding, Report: command.Report{Verdict: "insufficient_data", Confidence: "low",
			Recommend: []string{"Look at the finding: its names are too large to be told."}}}
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

// public is what others know of i.
func (i *incident) public() command.Incident {
	return command.Incident{ID: i.ID, Agent: i.Agent, Session: i.Session, Open: !i.Closed, Severity: int(i.Severity), First: i.First, Last: i.Last,
		Count: i.Count, Threats: i.Threats, Detectors: i.Detectors, Verdict: i.Verdict, By: i.By, Why: i.Why}
}

const maxKinds = 16 // of threats and detectors that an incident lists

// grow takes the kind of f into the incident.
func (i *incident) grow(f *detect.Finding) {
	add := func(list *[]string, name string) {
		if name = cut(name, 128); name != "" && len(*list) < maxKinds && !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
	}
	add(&i.Threats, f.Threat)
	add(&i.Detectors, f.Detector)
}

// decideCase closes or reopens an incident because an operator says so.
func (t *Triage) decideCase(ctx context.Context, b *bus, a command.Approval, operator string) (string, error) {
	key, rev, err := load[string](ctx, b.incidents, caseKey(a.Action))
	if err != nil || rev == 0 {
		return "unknown", err
	}
	for {
		i, rev, err := load[incident](ctx, b.incidents, key)
		switch {
		case err != nil:
			return "", err
		case rev == 0 || i.ID != a.Action: // the agent is in another incident by now
			return "late", nil
		case i.Closed == (a.Decision == command.Close):
			if i.Told == i.Turns {
				return "duplicate", nil
			}
		default:
			i.Closed, i.Verdict, i.By, i.Why = a.Decision == command.Close, a.Verdict, operator, cut(a.Why, maxText)
			i.Turns++
			if rev, err = save(ctx, b.incidents, key, i, rev); errors.Is(err, errConflict) {
				continue
			} else if err != nil {
				return "", err
			}
		}
		if err := t.tellTurn(ctx, b, &i); err != nil {
			return "", err
		}
		i.Told = i.Turns
		if _, err := save(ctx, b.incidents, key, i, rev); err != nil && !errors.Is(err, errConflict) {
			return "", err
		}
		return string(a.Decision), nil
	}
}

// tellTurn tells that an incident was closed or reopened, and has the pages of a closed one taken back.
func (t *Triage) tellTurn(ctx context.Context, b *bus, i *incident) error {
	c := command.Case{Incident: i.public(), Change: command.Reopened, Time: event.At(t.now())}
	turn := fmt.Sprint(i.Turns)
	if i.Closed {
		c.Change = command.Closed
		now := t.now()
		step := Step{Kind: command.Resolve, Mode: command.Auto, Retries: 3}
		p := proposal{Ladder: []Step{step}, Action: command.Action{
			ID: hash(i.ID, string(command.Resolve), turn), Incident: i.ID, Kind: command.Resolve, Mode: command.Auto, Severity: int(i.Severity),
			Target: command.Target{Agent: i.Agent, Session: i.Session}, Policy: "closed", Reason: cut(fmt.Sprintf("closed as %s: %s", i.Verdict, i.Why), maxText),
			Occurred: i.First, Decided: event.At(now), Expires: event.At(now.Add(step.expires())),
		}}
		if err := t.apply(ctx, b, p); err != nil {
			return err
		}
	}
	return t.tellCase(ctx, b, i, c, hash(i.ID, "turn", turn))
}
