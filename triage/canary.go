package triage

import (
	"context"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// isCanary reports whether an operator sent the agent as a canary lately.
func (t *Triage) isCanary(agent string) bool {
	_, ok := command.IsCanary(t.cfg.Trust, agent, t.now())
	return ok
}

// answerCanary answers a finding about an agent that an operator sent to see
// whether one comes: by an action that does nothing, but takes the way of all
// actions. There is no incident, no risk and no place in a budget for it. A
// finding about the past that a canary is given does not count.
func (t *Triage) answerCanary(ctx context.Context, b *bus, f *detect.Finding, at stamps, sent event.Timestamp) error {
	t.metrics.findings.WithLabelValues("canary").Inc()
	if f.Time < sent {
		return nil
	}
	now, id := t.now(), command.CanaryID(f.Agent)
	step := Step{Kind: command.Canary, Mode: command.Auto}
	p := proposal{Ladder: []Step{step}, Action: command.Action{
		ID: id, Incident: id, Kind: step.Kind, Mode: step.Mode, Target: command.Target{Agent: f.Agent}, Policy: "canary", Source: at.topic,
		Reason: cut(f.Reason, maxText), Findings: []string{f.ID}, Severity: int(f.Severity),
		Occurred: f.Time, Ingested: at.ingested, Found: at.found, Decided: event.At(now), Expires: event.At(now.Add(step.expires())),
	}}
	return t.apply(ctx, b, p)
}
