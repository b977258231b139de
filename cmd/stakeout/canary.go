package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
)

func newCanary(g *global) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   string(app.Canary),
		Short: "Have an agent of ours misbehave, and page when nobody notices",
		Long: `Send an agent of ours through the whole chain every canary.every: its lines to the first
raw topic, a finding, an action that does nothing, its verified outcome. When that does not
come within canary.within a person is paged, by the pager of this process (notify, page) and
not by the chain that may be broken. 'stakeout up' does the same.

The agent's id is signed with your key (operator.signing_key), which must be among
triage.trust.operators: an agent that only calls itself a canary is treated like any other.`,
		Example: example("stakeout canary --config /etc/stakeout.yaml", "stakeout canary --once"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := g.load(cmd)
			if err != nil {
				return err
			}
			if !once {
				return app.Run(cmd.Context(), cfg, log, app.Canary)
			}
			if cfg, err = app.Attached(cfg); err != nil {
				return err
			}
			if err := app.SendCanary(cmd.Context(), cfg, log); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the canary came through")
			return err
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "send one, wait for it, and exit with 1 if it does not come through")
	return cmd
}
