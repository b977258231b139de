package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage/command"
)

func newFindings(g *global) *cobra.Command {
	var f store.FindingFilter
	var since time.Duration
	var severity string
	return question[detect.Finding]{
		use:   "findings",
		short: "Show what was found",
		long:  "Show findings, latest first: what an agent did, against what is normal for it.",
		none:  "'stakeout agents' shows who is still learning, 'stakeout rejects' what could not be read",
		head:  []string{"TIME", "SEVERITY", "DETECTOR", "AGENT", "P", "REASON"},
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&f.Agent, "agent", "", "of this agent only")
			addChoice(cmd, &f.Threat, "threat", "of this threat only, such as privilege-drift", detect.Threats())
			addChoice(cmd, &severity, "severity", "of this severity or worse, such as high", severities())
			addSince(cmd, &since, "whose event is not older than this, such as 24h")
			addMost(cmd, &f.Limit, "limit", 100)
		},
		ask: func(ctx context.Context, s *store.Store) ([]detect.Finding, error) {
			f.Since, f.MinSeverity = ago(since), detect.Severity(slices.Index(severities(), severity)+1)
			return s.Findings(ctx, f)
		},
		cells: func(f detect.Finding) []string {
			return []string{when(f.Time), f.Severity.String(), f.Detector, f.Agent, fmt.Sprintf("%.2g", f.PValue), f.Reason}
		},
	}.command(g)
}

// severities names those that a finding may have, the least first.
func severities() (all []string) {
	for s := detect.Informational; s <= detect.Critical; s++ {
		all = append(all, s.String())
	}
	return all
}

func newActions(g *global) *cobra.Command {
	var f store.ActionFilter
	var since time.Duration
	cmd := question[command.Outcome]{
		use:   "actions",
		short: "Show what was done about it",
		long: `Show actions and how far they have come, latest first. An action that waits for
approval is decided by 'stakeout approve ID' or 'stakeout reject ID', and one that was
carried out is undone by 'stakeout actions undo ID'.`,
		head: []string{"TIME", "STATUS", "KIND", "MODE", "AGENT", "ID", "DETAIL"},
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&f.Agent, "agent", "", "against this agent only")
			cmd.Flags().StringVar(&f.Incident, "incident", "", "of this incident only")
			addChoice(cmd, &f.Status, "status", "with this status only, such as waiting or verified", command.Statuses())
			addSince(cmd, &since, "that changed within this time, such as 24h")
			addMost(cmd, &f.Limit, "limit", 100)
		},
		ask: func(ctx context.Context, s *store.Store) ([]command.Outcome, error) {
			f.Since = ago(since)
			return s.Actions(ctx, f)
		},
		cells: func(o command.Outcome) []string {
			a := o.Action
			status := string(o.Status)
			if o.Quorum > 0 {
				status += fmt.Sprintf(", %d of %d approved", o.Approved, o.Quorum)
			}
			return []string{when(o.Time), status, string(a.Kind), string(a.Mode), a.Target.Agent, a.ID, o.Detail}
		},
	}.command(g)
	cmd.AddCommand(newUndo(g))
	return cmd
}

func newAgents(g *global) *cobra.Command {
	var f store.AgentFilter
	cmd := question[store.Agent]{
		use:   "agents",
		short: "Show the agents and the state of their baselines",
		long: `Show agents, those with the worst findings first. A baseline is learning until it
has 200 events and a day, then active, and drifted while the agent is away from its own past;
stale when nothing came for thirty days; reset when a person had it forget. Risk, 0 to 100,
ranks agents by what was found of them lately; half of it is left after three days.`,
		none: "'stakeout ship FILE' sends events, 'stakeout rejects' shows what could not be read",
		head: []string{"AGENT", "ROLE", "TENANT", "STATE", "EVENTS", "PRIVILEGES", "LAST SEEN", "FINDINGS", "WORST", "RISK"},
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&f.Agent, "agent", "", "this agent only")
			cmd.Flags().StringVar(&f.Role, "role", "", "of this role only")
			cmd.Flags().StringVar(&f.Tenant, "tenant", "", "of this tenant only")
			addChoice(cmd, &f.State, "state", "in this state only: "+strings.Join(names(detect.States()), ", "), detect.States())
			addMost(cmd, &f.Limit, "limit", 100)
		},
		ask: func(ctx context.Context, s *store.Store) ([]store.Agent, error) {
			return s.Agents(ctx, f)
		},
		cells: func(a store.Agent) []string {
			worst := "-"
			if a.Worst > 0 {
				worst = a.Worst.String()
			}
			return []string{a.Agent, a.Role, a.Tenant, string(a.State), fmt.Sprint(a.Events), fmt.Sprint(a.Privileges), when(a.Last), fmt.Sprint(a.Findings), worst, risk(a.Risk)}
		},
	}.command(g)
	addBaselines(cmd, g)
	return cmd
}

func newRejects(g *global) *cobra.Command {
	var f store.RejectFilter
	var since time.Duration
	return question[store.Reject]{
		use:   "rejects",
		short: "Show lines that are no events, and why",
		long: `Show what could not be read, latest first: where it lies in Kafka, which field is at
fault, and why. The line itself is not kept: it may hold what nobody wants kept.`,
		head: []string{"TIME", "WHERE", "FIELD", "POSITION", "SIZE", "REASON"},
		flags: func(cmd *cobra.Command) {
			addChoice(cmd, &f.Field, "field", "whose fault is in this field only, such as time, or "+event.LineField+" for the line as a whole", append(event.FieldNames(), event.LineField))
			addSince(cmd, &since, "not older than this, such as 24h")
			addMost(cmd, &f.Limit, "limit", 100)
		},
		ask: func(ctx context.Context, s *store.Store) ([]store.Reject, error) {
			f.Since = ago(since)
			return s.Rejects(ctx, f)
		},
		cells: func(r store.Reject) []string {
			where := fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)
			if r.Line > 0 {
				where += fmt.Sprintf("/%d", r.Line)
			}
			return []string{r.Time.UTC().Format("2006-01-02 15:04:05"), where, r.Field, fmt.Sprint(r.Position), fmt.Sprint(r.Size), strings.TrimSpace(r.Reason)}
		},
	}.command(g)
}
