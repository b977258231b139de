package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/input"
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
	cmd.AddCommand(newSchema(), newBOM())
	return cmd
}

func newBOM() *cobra.Command {
	return &cobra.Command{
		Use:   "bom FILE",
		Short: "Print the bill of materials of a CycloneDX document",
		Long: `Read a CycloneDX document (JSON, 1.5 to 1.7), such as an ML-BOM, and print what it says
agents may be made of as the section bom of the detection rules. "-" is standard input.

Models are the components of type machine-learning-model, servers the services, by the
hosts of their endpoints. What CycloneDX has no field for is read from properties:

  stakeout:model  of a model: what events call it, if not by its name; any number
  stakeout:tool   of a service: a tool it may offer, and after a space the hash of its
                  definition; any number, and without one it may offer any tool
  stakeout:role   of a component: its version is a build for the agents of this role

What the section does not name is a finding: read it before you put it into the rules.`,
		Example: example("stakeout config bom ai-bom.cdx.json > bom.yaml"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := input.Open(args[0])
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				in = f
			}
			plain, err := input.Plain(in)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			bom, left, err := rules.CycloneDX(plain)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], input.Explain(err))
			}
			text, err := rules.BOMSection(bom)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d models, %d servers, %d builds; %d components are none of these\n", len(bom.Models), len(bom.Servers), len(bom.Builds), left)
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
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
