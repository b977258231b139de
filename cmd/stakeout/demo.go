package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/demo"
)

func newDemo(g *global) *cobra.Command {
	cfg := demo.DefaultConfig()
	var out format
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it at work on this machine, in half a minute",
		Long: `Start the whole pipeline over embedded parts, on free ports, with an identity
provider that issues and revokes tokens. Send it a clean fortnight of a simulated
fleet, then let the fleet work live while some of its agents are attacked. Every
finding and every action is shown as it happens.

At the end everything is counted from outside, in Kafka, NATS and ClickHouse. The
exit status is 0 only if every attack was detected, the token behind it verified to
be revoked, and no event, finding or action was lost or doubled. What the roles warn of
and the pages they send are shown if it is not.`,
		Example: example("stakeout demo", "stakeout demo --format json", "stakeout demo --agents 100 --seed 7 --dir ./demo-data"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return perform(cmd, g, out, func(v *viewer, log *slog.Logger) (demo.Result, bool, error) {
				result, err := demo.Run(cmd.Context(), cfg, v, log)
				return result, result.Threats != nil, err
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Agents, "agents", cfg.Agents, "agents of the fleet")
	f.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "seed of the fleet")
	f.IntVar(&cfg.Injections, "injections", cfg.Injections, "attacks of each threat")
	f.StringSliceVar(&cfg.Threats, "threats", cfg.Threats, "threats to inject; see 'stakeout simulate --help'")
	f.DurationVar(&cfg.Live, "live", cfg.Live, "length of the live phase")
	f.StringVar(&cfg.Dir, "dir", "", "keep the data in this directory")
	mustSucceed(addFormat(cmd, &out))
	return cmd
}
