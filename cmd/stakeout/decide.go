package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/triage/command"
)

func newDecide(g *global, verb string) *cobra.Command {
	decision, short := command.Approved, "Approve an action that waits"
	if verb == "reject" {
		decision, short = command.Refused, "Reject an action that waits"
	}
	var why string
	cmd := &cobra.Command{
		Use:   verb + " ACTION",
		Short: short,
		Long: short + `, by its id as 'stakeout actions' shows it. The decision is signed
with your key (operator.signing_key), which the response policy must list among the
approvers of the step. Whether it was accepted shows in 'stakeout actions'.`,
		Example: example("stakeout actions --status waiting", "stakeout "+verb+" 3f9c... --why 'the export was planned'"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, log, err := g.load(cmd)
			if err != nil {
				return err
			}
			if cfg, err = app.Attached(cfg); err != nil {
				return err
			}
			if err := app.Decide(cmd.Context(), cfg.Operator, args[0], decision, why, log); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "decision on %s sent; see `stakeout actions`\n", args[0])
			return err
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "reason, kept with the decision")
	return cmd
}
