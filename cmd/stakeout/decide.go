package main

import (
	"fmt"
	"log/slog"

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
			return decide(cmd, cfg.Operator, args[0], decision, why, log)
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "reason, kept with the decision")
	return cmd
}

func newUndo(g *global) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:   "undo ACTION",
		Short: "Undo an action that was carried out",
		Long: `Undo an action, by its id as 'stakeout actions' shows it: the agent's posture is
released as far as this action holds it. What another action holds stays. A revoked
token stays revoked, for that has no undo: the agent needs a new one.

The decision is signed with your key (operator.signing_key), which must be among
triage.trust.operators, and among the approvers of the step where it lists some. When
the same incident calls for the same action again it is held back and paged.`,
		Example: example("stakeout actions --status verified", "stakeout actions undo 3f9c... --why 'the export was planned'"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, log, err := g.load(cmd)
			if err != nil {
				return err
			}
			if cfg, err = app.Attached(cfg); err != nil {
				return err
			}
			return decide(cmd, cfg.Operator, args[0], command.Undo, why, log)
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "reason, kept with the decision")
	return cmd
}

// decide sends a decision to triage.
func decide(cmd *cobra.Command, cfg app.OperatorConfig, action string, d command.Decision, why string, log *slog.Logger) error {
	if err := app.Decide(cmd.Context(), cfg, action, d, why, log); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "decision on %s sent; see `stakeout actions`\n", action)
	return err
}
