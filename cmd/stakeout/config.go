package main

import (
	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/rules"
)

func newConfig(g *global) *cobra.Command {
	cmd := &cobra.Command{
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
	cmd.AddCommand(newSchema())
	return cmd
}

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema response|detection",
		Short: "Print the JSON Schema of the files that operators write",
		Long: `Print the JSON Schema (2020-12) of a response policy or of detection rules, for editors
and for checks before a change is merged. What only the whole of a file shows, such as a
kind that is commanded without a budget, is refused when the file is read.`,
		Example:   example("stakeout config schema response > response.schema.json"),
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"response", "detection"},
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := rules.Schema(args[0])
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}
