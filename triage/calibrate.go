package triage

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// Verdicts that calibrate the detectors whose findings are in the incident.
const (
	falsePositive command.Verdict = "false_positive"
	truePositive  command.Verdict = "true_positive"
)

// calibrate hands the verdict on a closed incident to the detectors, through the log
// of each agent's events; or takes it back, where the incident was reopened. It may
// be done again: a decision in the log bears an id, by which a second one is dropped.
func (t *Triage) calibrate(ctx context.Context, i *incident) error {
	verdict := i.Verdict
	if !i.Closed {
		verdict = i.Withdrawn
	}
	if t.operations == nil || verdict != falsePositive && verdict != truePositive {
		return nil
	}
	for _, m := range i.Members {
		if len(m.Detectors) == 0 { // what others say of it teaches nothing about it
			continue
		}
		if err := t.at("calibrate"); err != nil {
			return err
		}
		v := detect.Verdict{False: verdict == falsePositive, Withdrawn: !i.Closed, Detectors: m.Detectors, Novel: m.Novel}
		id := hash("verdict", i.ID, fmt.Sprint(i.Turns), m.Agent)
		if err := t.operations(ctx, Operation{ID: id, Agent: m.Agent, Tenant: m.Tenant, Verb: v.Operation()}); err != nil {
			return fmt.Errorf("verdict on the findings about %s: %w", m.Agent, err)
		}
		result := string(verdict)
		if v.Withdrawn {
			result = "withdrawn"
		}
		t.metrics.verdicts.WithLabelValues(result).Inc()
		t.log.Info("verdict handed to detection", "incident", i.ID, "agent", m.Agent, "verdict", verdict, "withdrawn", v.Withdrawn, "operator", i.By)
	}
	return nil
}

const (
	maxNovel     = 16 // that a member notes
	maxNovelSize = 48 // bytes of one
)

// noteNovel notes what f found its agent do for the first time, and of which tenant it is: what
// agents of a tenant share is judged under its whole name, of which a profile may keep a part alone.
func (m *member) noteNovel(f *detect.Finding) {
	var novel []string
	for _, n := range f.Novel {
		if len(n) <= maxNovelSize && !strings.ContainsAny(n, " \t\r\n") {
			novel = append(novel, n)
		}
	}
	m.Novel = union(m.Novel, novel, maxNovel)
	m.Tenant = cmp.Or(f.Tenant, m.Tenant)
}
