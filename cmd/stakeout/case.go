package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

func newClose(g *global) *cobra.Command {
	var verdict command.Verdict
	var why string
	var suppress time.Duration
	cmd := &cobra.Command{
		Use:   "close INCIDENT",
		Short: "Close an incident with a verdict",
		Long: `Close an incident, by its id as 'stakeout incidents' shows it, and say what it was.
The decision is signed with your key (operator.signing_key), which must be among
triage.trust.operators. Pages of the incident are taken back; what was done about it
stays until it is undone ('stakeout actions undo'). The next finding about the agent
opens a new incident.

After a false_positive, findings of the same detectors about the same agents, if no
more severe, are not acted on for --suppress: 'stakeout suppressions' shows and ends
that. Besides these detectors hold less against these agents. After a true_positive what
the attack did is forgotten, so that it is found again. 'stakeout reopen' takes a verdict
back.`,
		Example: example("stakeout incidents --open", "stakeout close 3f9c... --verdict false_positive --why 'the export was planned'"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a := command.Approval{Action: args[0], Decision: command.Close, Verdict: verdict, Why: why}
			if suppress != 0 && (verdict == "false_positive" || cmd.Flags().Changed("suppress")) {
				a.Until = event.At(time.Now().Add(suppress))
			}
			return g.decide(cmd, a, decided(args[0], "incident "+args[0]))
		},
	}
	addChoice(cmd, &verdict, "verdict", "what it was: "+strings.Join(names(command.Verdicts()), ", "), command.Verdicts())
	mustSucceed(cmd.MarkFlagRequired("verdict"))
	cmd.Flags().DurationVar(&suppress, "suppress", 24*time.Hour, "of a false_positive, or if given of a benign: how long findings like it are not acted on, 720h at most; 0 is not at all")
	addWhy(cmd, &why)
	return cmd
}

func newReopen(g *global) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:   "reopen INCIDENT",
		Short: "Reopen an incident",
		Long: `Reopen an incident that was closed, by its id as 'stakeout incidents' shows it. The
decision is signed with your key (operator.signing_key), which must be among
triage.trust.operators. What the verdict taught the detectors is taken back, but for a
drift that was taken for over and for doubts that a true positive ended. What it
suppresses stays suppressed: 'stakeout suppressions remove' ends that.`,
		Example: example("stakeout incidents", "stakeout reopen 3f9c... --why 'the export was not planned'"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.decide(cmd, command.Approval{Action: args[0], Decision: command.Reopen, Why: why}, decided(args[0], "incident "+args[0]))
		},
	}
	addWhy(cmd, &why)
	return cmd
}
