package triage

import (
	"context"
	"errors"
	"slices"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// A suppression stands under its id in the bucket of incidents: one for each
// agent and detector, so that a finding is looked up and not searched for. A
// suppressed finding is kept, joins its incident and is disposed of like any
// other; only nothing is done about it.

// What is told of an agent by those who may not speak for it has a suppression of its own:
// or else who raises false findings about an agent has the true ones suppressed.
func suppressionID(agent, detector string, heard bool) string {
	if !heard {
		return hash("suppression", agent, detector, "untrusted")
	}
	return hash("suppression", agent, detector)
}

// suppressed returns the id of the suppression that f falls under; empty for none.
func (t *Triage) suppressed(ctx context.Context, b *bus, f *detect.Finding, heard bool) (string, error) {
	if certain(f) {
		return "", nil
	}
	id := suppressionID(f.Agent, f.Detector, heard)
	s, rev, err := load[command.Suppression](ctx, b.incidents, command.SuppressionKey(id))
	if err != nil || rev == 0 || !s.Holds(eventNow(t)) || int(f.Severity) > s.Severity {
		return "", err
	}
	return id, nil
}

// suppress has findings like those of a closed incident not acted on until a time.
func (t *Triage) suppress(ctx context.Context, b *bus, i *incident, until event.Timestamp) error {
	for _, m := range i.Members {
		for n, detector := range slices.Concat(m.Detectors, m.Unheard) {
			heard := n < len(m.Detectors)
			s := command.Suppression{ID: suppressionID(m.Agent, detector, heard), Incident: i.ID, Agent: m.Agent, Detector: detector, Untrusted: !heard, Severity: int(i.Severity),
				Owner: i.By, Verdict: i.Verdict, Why: i.Why, Since: i.Turned, Until: until}
			if err := t.at("suppress"); err != nil {
				return err
			}
			if err := mark(ctx, b.incidents, command.SuppressionKey(s.ID), s); err != nil {
				return err
			}
			c := command.Case{Incident: i.public(), Change: command.Suppressed, Suppression: &s, Time: i.Turned}
			if err := t.tellCase(ctx, b, i, c, hash(s.ID, i.ID, "suppressed", i.Turned.String())); err != nil {
				return err
			}
		}
	}
	return nil
}

// unsuppress ends a suppression because an operator says so.
func (t *Triage) unsuppress(ctx context.Context, b *bus, a command.Approval, operator string) (string, error) {
	for {
		s, rev, err := load[command.Suppression](ctx, b.incidents, command.SuppressionKey(a.Action))
		switch {
		case err != nil:
			return "", err
		case rev == 0:
			return "unknown", nil
		case !s.Removed && !s.Holds(eventNow(t)):
			return "late", nil
		case s.Removed && s.RemovedBy != operator:
			return "duplicate", nil
		}
		if !s.Removed {
			s.Removed, s.RemovedBy = true, operator
			switch _, err := save(ctx, b.incidents, command.SuppressionKey(s.ID), s, rev); {
			case errors.Is(err, errConflict):
				continue
			case err != nil:
				return "", err
			}
		}
		i, err := loadIncident(ctx, b, s.Incident)
		if err != nil {
			return "", err
		}
		if i.ID == "" { // it has aged out, but is what the message is about
			i.ID, i.Agent = s.Incident, s.Agent
		}
		c := command.Case{Incident: i.public(), Change: command.Unsuppressed, Suppression: &s, Time: eventNow(t)}
		if err := t.tellCase(ctx, b, i, c, hash(s.ID, "unsuppressed", s.Since.String())); err != nil {
			return "", err
		}
		return string(a.Decision), nil
	}
}

// maxNoted bounds the detectors of a member, and so what closing an incident suppresses.
const maxNoted = 8

// judged notes on the member of f by what it was found, and whether that is suppressed.
func (i *incident) judged(f *detect.Finding, suppression string, heard bool) {
	n := slices.IndexFunc(i.Members, func(m member) bool { return m.Agent == f.Agent })
	m := &i.Members[n]
	detectors := &m.Unheard
	if heard {
		detectors = &m.Detectors
		m.noteNovel(f)
	}
	if cut(f.Detector, 128) == f.Detector {
		*detectors = union(*detectors, []string{f.Detector}, maxNoted)
	}
	if m.Suppression = suppression; suppression != "" {
		i.Suppressed++
	}
}

// suppression is that under which f fell when it joined i, if it is its agent's last finding.
func (i *incident) suppression(f *detect.Finding) string {
	for _, m := range i.Members {
		if m.Agent == f.Agent && m.Last == hash(f.ID) {
			return m.Suppression
		}
	}
	return ""
}
