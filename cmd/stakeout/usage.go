package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// pointToHelp makes every refusal of a command line say where the right one stands,
// of root and of all below it.
func pointToHelp(root *cobra.Command) {
	root.SetFlagErrorFunc(see)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		switch args := cmd.Args; {
		case cmd.HasSubCommands() && !cmd.Runnable():
			cmd.Args = subcommand
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		case args != nil:
			cmd.Args = func(cmd *cobra.Command, given []string) error {
				if err := args(cmd, given); err != nil {
					return see(cmd, err)
				}
				return nil
			}
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(root)
	help, _, err := root.Find([]string{"help"})
	mustSucceed(err)
	help.Args = func(_ *cobra.Command, given []string) error {
		if cmd, rest, err := root.Find(given); err != nil || len(rest) > 0 {
			return see(cmd, fmt.Errorf("unknown command %q", strings.Join(given, " ")))
		}
		return nil
	}
}

// see adds to an error where to look.
func see(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())
}

// subcommand refuses what is no command below cmd.
func subcommand(cmd *cobra.Command, given []string) error {
	if len(given) == 0 {
		return nil
	}
	if meant := cmd.SuggestionsFor(given[0]); len(meant) > 0 {
		return see(cmd, fmt.Errorf("unknown command %q, did you mean %s?", given[0], strings.Join(meant, " or ")))
	}
	return see(cmd, fmt.Errorf("unknown command %q", given[0]))
}
