package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
)

// attach is load for a command that talks to a running pipeline: where 'stakeout up'
// runs here, to that one.
func (g *global) attach(cmd *cobra.Command) (app.Config, *slog.Logger, error) {
	cfg, log, err := g.load(cmd)
	if err != nil {
		return cfg, log, err
	}
	cfg, err = app.Attached(cfg)
	return cfg, log, err
}
