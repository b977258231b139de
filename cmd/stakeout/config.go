package main

import (
	"github.com/spf13/cobra"
)

func newConfig(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print the configuration in force",
		Long: `Print the configuration in force, after defaults, file, environment and --set, as a
YAML file that --config reads. It holds names of secret files, never secrets.`,
		Example: example("stakeout config > stakeout.yaml", "stakeout config --set kafka.brokers=10.0.0.1:9093 --set kafka.tls.enabled=true"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := g.load(cmd)
			if err != nil {
				return err
			}
			text, err := cfg.YAML()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}
