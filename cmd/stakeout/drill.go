package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/drill"
)

func newDrill(g *global) *cobra.Command {
	cfg := drill.DefaultConfig()
	var out format
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Practise five incidents at once, under load",
		Long: `Start the whole pipeline over embedded parts, on free ports. Let five agents with a
clean past be hijacked at the same moment while a thousand others work at full rate,
and time every stop: from the event on Kafka to the command on NATS, to the first call
that a gateway refuses by its posture feed, and to the token verified to be revoked.
Each agent is suspended on a lease besides, and free again at the end of it.

With five incidents the 99th percentile is the slowest; --incidents makes it more of
them. The exit status is 0 only if every incident was found, contained, verified and
undone.`,
		Example: example("stakeout drill", "stakeout drill --format json", "stakeout drill --incidents 50 --agents 400"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return perform(cmd, g, out, func(v *viewer, log *slog.Logger) (drill.Result, bool, error) {
				result, err := drill.Run(cmd.Context(), cfg, v, log)
				return result, result.Stops != nil, err
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Incidents, "incidents", cfg.Incidents, "agents hijacked at once, a multiple of five")
	f.IntVar(&cfg.Rate, "rate", cfg.Rate, "events per second of the agents that are not attacked")
	f.DurationVar(&cfg.Load, "load", cfg.Load, "how long they work")
	f.IntVar(&cfg.Agents, "agents", cfg.Agents, "agents with a past, some of which are attacked")
	f.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "seed of the fleet")
	f.StringVar(&cfg.Dir, "dir", "", "keep the data in this directory")
	mustSucceed(addFormat(cmd, &out))
	return cmd
}
