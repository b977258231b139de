package triage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

func riskKey(agent string) string { return riskPrefix + command.Token(agent) }

// riskPrefix begins the keys of risks, and the names of the timers that look at them again.
const riskPrefix = "risk."

// assess counts f in the risk of its agent and, in part, of those that the agent
// was delegated by: its own parent, and as far as earlier findings named them,
// the parents of that. It returns the risks, that of the agent first.
//
// What a source says that is not trusted to speak for the agent does not count,
// where the policy asks for trust: it would help to climb a ladder. Nor does what
// a person has found to be no reason to act.
func (t *Triage) assess(ctx context.Context, b *bus, f *detect.Finding, at stamps, suppression string) ([]risk, error) {
	policy := t.policy.Load()
	if suppression != "" || !at.heard(policy, f) {
		r, _, err := load[risk](ctx, b.records, riskKey(f.Agent))
		r.Agent = f.Agent
		return []risk{r}, err
	}
	entry, _ := policy.match(f)
	var chain []risk
	for hops, agent := 0, f.Agent; hops <= maxHops && agent != ""; hops++ {
		if slices.ContainsFunc(chain, func(r risk) bool { return r.Agent == agent }) { // spawned by itself
			break
		}
		r, err := t.countRisk(ctx, b, agent, f, hops, entry.Name)
		if err != nil {
			return nil, err
		}
		chain = append(chain, r)
		agent = r.Parent
	}
	return chain, nil
}

func (t *Triage) countRisk(ctx context.Context, b *bus, agent string, f *detect.Finding, hops int, entry string) (risk, error) {
	key := riskKey(agent)
	for {
		r, rev, err := load[risk](ctx, b.records, key)
		if err != nil {
			return r, err
		}
		r.Agent = agent
		if !r.count(f, hops, entry) {
			return r, nil
		}
		if err := t.at("risk"); err != nil {
			return r, err
		}
		switch _, err := save(ctx, b.records, key, r, rev); {
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return r, err
		}
		if hops == 0 {
			t.metrics.risk.Observe(r.score(t.policy.Load().Risk, f.Time).Score)
		}
		return r, nil
	}
}

// tellRisks tells of the risks that have grown by a finding of the incident.
func (t *Triage) tellRisks(ctx context.Context, b *bus, chain []risk, incident string) error {
	for _, r := range chain {
		if err := t.tellRisk(ctx, b, r.Agent, incident); err != nil {
			return err
		}
	}
	return nil
}

// tellRisk tells enforcement points how an agent's risk stands by now, and
// subscribers of shared signals if its level has changed. It may be told again.
func (t *Triage) tellRisk(ctx context.Context, b *bus, agent, incident string) error {
	key := riskKey(agent)
	_, armed, err := load[timer](ctx, b.records, timerKey(key))
	if err != nil {
		return err
	}
	for {
		r, rev, err := load[risk](ctx, b.records, key)
		if err != nil || rev == 0 {
			return err
		}
		if r.Outbox != nil {
			if err := t.apply(ctx, b, *r.Outbox); err != nil {
				return err
			}
			r.Outbox = nil
			if _, err := save(ctx, b.records, key, r, rev); err != nil && !errors.Is(err, errConflict) {
				return err
			}
			continue
		}
		policy, now := t.policy.Load().Risk, t.now()
		at := r.score(policy, event.At(now))
		if before := cmp.Or(r.Level, command.RiskLow); at.Level != before {
			at.Previous = before
			r.Level, r.Incident = at.Level, cmp.Or(incident, r.Incident)
			r.Turns++
			if t.cfg.RiskSignals && r.Incident != "" {
				r.Outbox = riskChange(&r, at)
			}
			switch _, err := save(ctx, b.records, key, r, rev); {
			case errors.Is(err, errConflict):
				continue
			case err != nil:
				return err
			}
			t.metrics.riskChanges.WithLabelValues(string(at.Level)).Inc()
			t.log.Info("risk level changed", "agent", agent, "level", at.Level, "before", before, "score", at.Score)
			if r.Outbox != nil {
				continue
			}
		}
		if err := t.setRisk(ctx, b, agent, at); err != nil {
			return err
		}
		if due := r.falls(policy, event.At(now)); due != 0 {
			return mark(ctx, b.records, timerKey(key), timer{Due: due})
		}
		if armed == 0 {
			return nil
		}
		return remove(ctx, b.records, timerKey(key), armed)
	}
}

// riskChange is the action that tells of a change of level.
func riskChange(r *risk, at command.Risk) *proposal {
	step := Step{Kind: command.RiskChange, Mode: command.Auto, Retries: 1}
	p := proposal{Ladder: []Step{step}, Action: command.Action{
		ID: hash(r.Agent, string(command.RiskChange), fmt.Sprint(r.Turns)), Incident: r.Incident, Kind: step.Kind, Mode: step.Mode,
		Target: command.Target{Agent: r.Agent}, Policy: "risk", Risk: &at, Findings: []string{},
		Reason:   fmt.Sprintf("the risk of %s is %s now, %.0f of 100; it was %s", cut(r.Agent, 200), at.Level, at.Score, at.Previous),
		Occurred: r.Time, Decided: at.Time, Expires: event.At(at.Time.Time().Add(step.expires())),
	}}
	for _, c := range r.Last[max(0, len(r.Last)-maxFindings):] {
		p.Action.Findings = append(p.Action.Findings, c.ID)
	}
	return &p
}

// ringRisk looks whether a risk has fallen to another level.
func (t *Triage) ringRisk(ctx context.Context, b *bus, key string) error {
	r, rev, err := load[risk](ctx, b.records, key)
	if err != nil {
		return err
	}
	if rev == 0 {
		_, rev, err := load[timer](ctx, b.records, timerKey(key))
		if err != nil || rev == 0 {
			return err
		}
		return remove(ctx, b.records, timerKey(key), rev)
	}
	return t.tellRisk(ctx, b, r.Agent, "")
}
