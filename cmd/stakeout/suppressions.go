package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage/command"
)

func newSuppressions(g *global) *cobra.Command {
	all, most := false, 0
	cmd := question[store.SuppressionCount]{
		use:   "suppressions",
		short: "Show what is not acted on because of a verdict, or end it",
		long: `Show which findings are not acted on, because a person closed an incident with ones like
them as false_positive or benign: by agent and detector, until when, by whose verdict,
and how many fell under it. They are kept, counted and looked at like all others. More
severe ones, and those of other detectors, are acted on.`,
		head: []string{"ID", "AGENT", "DETECTOR", "UNTIL", "FINDINGS", "OWNER", "WHY"},
		flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&all, "all", false, "those also that have ended or were removed")
			addMost(cmd, &most, "limit", 100)
		},
		ask: func(ctx context.Context, s *store.Store) ([]store.SuppressionCount, error) {
			return s.Suppressions(ctx, time.Now(), all, most)
		},
		cells: func(c store.SuppressionCount) []string {
			agent, until := c.Agent, when(c.Until)
			if c.Untrusted {
				agent = detect.Untrusted(agent)
			}
			if c.Removed {
				until = "removed"
			}
			return []string{c.ID, agent, c.Detector, until, fmt.Sprint(c.Findings), c.Owner, c.Why}
		},
	}.command(g)
	cmd.AddCommand(newUnsuppress(g))
	return cmd
}

func newUnsuppress(g *global) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:   "remove ID",
		Short: "Have findings acted on again",
		Long: `Remove a suppression, by its id as 'stakeout suppressions' shows it. The decision is
signed with your key (operator.signing_key), which must be among triage.trust.operators.`,
		Example: example("stakeout suppressions", "stakeout suppressions remove 3f9c... --why 'it was real after all'"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.decide(cmd, command.Approval{Action: args[0], Decision: command.Unsuppress, Why: why}, decided(args[0], "suppressions"))
		},
	}
	addWhy(cmd, &why)
	return cmd
}
