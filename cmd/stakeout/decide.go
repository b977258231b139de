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
approvers of the step. One that will not count is told at once, and is kept in the audit
log; what became of the others shows in 'stakeout actions'.`,
		Example: example("stakeout actions --status waiting", "stakeout "+verb+" 3f9c... --why 'the export was planned'"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.decide(cmd, command.Approval{Action: args[0], Decision: decision, Why: why}, decided(args[0], "actions"))
		},
	}
	addWhy(cmd, &why)
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
			return g.decide(cmd, command.Approval{Action: args[0], Decision: command.Undo, Why: why}, decided(args[0], "actions"))
		},
	}
	addWhy(cmd, &why)
	return cmd
}

// decide signs a decision, sends it to triage and says so.
func (g *global) decide(cmd *cobra.Command, a command.Approval, sent string) error {
	cfg, log, err := g.attach(cmd)
	if err != nil {
		return err
	}
	if err := app.Send(cmd.Context(), cfg.Operator, a, log); err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), sent)
	return err
}

// decided says that a decision was sent, and which command shows what became of it.
func decided(id, see string) string {
	return fmt.Sprintf("decision on %s sent; see `stakeout %s`", id, see)
}
