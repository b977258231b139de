package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage/command"
)

// newBaseline is an operator's decision about the baseline of an agent.
func newBaseline(g *global, d command.Decision, short, long string) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:   string(d) + " AGENT",
		Short: short,
		Long: long + `

The decision is signed with your key (operator.signing_key), which must be among
triage.trust.operators, and audited ('stakeout audit'). It takes effect between the
events of the agent, in the order of the log; 'stakeout agents' shows the state.`,
		Example: example("stakeout agents --state drifted", "stakeout agents "+string(d)+" billing-7 --why 'new duties since Monday'"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if agent, told := detect.AgentOf(args[0]); told {
				return fmt.Errorf("%.80q: is what was told of %.80q by whom nobody trusts; a decision about the agent reaches that, too: `stakeout agents %s %s`", args[0], agent, d, printable(agent))
			}
			known := false
			err := withStore(cmd, g, func(ctx context.Context, _ app.Config, s *store.Store) error {
				for _, name := range []string{args[0], detect.Untrusted(args[0])} {
					there, err := s.Agents(ctx, store.AgentFilter{Agent: name, Limit: 1})
					if err != nil {
						return err
					}
					known = known || len(there) > 0
				}
				return nil
			})
			switch {
			case err != nil:
				return fmt.Errorf("look for agent %.80q: %w", args[0], err)
			case !known:
				return fmt.Errorf("agent %.80q: is not known; `stakeout agents` shows those there are", args[0])
			}
			return g.decide(cmd, command.Approval{Action: command.BaselineID(args[0]), Agent: args[0], Decision: d, Why: why},
				fmt.Sprintf("%s of %s sent; see `stakeout agents --agent %[2]s`", d, printable(args[0])))
		},
	}
	addWhy(cmd, &why)
	mustSucceed(cmd.MarkFlagRequired("why"))
	return cmd
}

// addBaselines adds the decisions about baselines.
func addBaselines(cmd *cobra.Command, g *global) {
	cmd.AddCommand(
		newBaseline(g, command.Reset, "Have an agent learn anew",
			"Forget what is normal for an agent. It is learning then, and judged against\nitself again once it is known."),
		newBaseline(g, command.Reanchor, "Take what an agent does now as normal",
			"Take what an agent has done lately as its baseline, and its next fortnight as the\npoint that slow drift is measured from. A drift that was reported is over."),
		newBaseline(g, command.Confirm, "Vouch for the baseline of an agent that is learning",
			"Have an agent judged by its baseline from now on, however little it rests on."),
	)
}
