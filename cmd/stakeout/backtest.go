package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/backtest"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/rules"
)

func newBacktest(g *global) *cobra.Command {
	var cfg backtest.Config
	var out format
	var until, peers string
	var budget float64
	var quiet bool
	cmd := &cobra.Command{
		Use:   "backtest FILE...",
		Short: "See what would have been found in old logs",
		Long: `Run the engine that judges in production over files of JSON lines, and say what it
would have found. With --labels (JSON lines with session_id, class, phase and fold) the
findings are held against the truth: how many sessions of each class were alerted, and
how well the largest evidence in a session tells successful attacks from benign work.

Before --warmup-until the engine learns what is normal for the peers of an agent, its
role and tenant; from then on that is frozen and agents are held against it too.`,
		Example: example("stakeout backtest agents.jsonl.gz", "stakeout backtest --labels truth.jsonl --warmup-until 2026-01-19T00:00:00Z --budget 0.01 --format json agents.jsonl.gz"),
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			conf, _, err := g.load(cmd)
			if err != nil {
				return err
			}
			if cfg.Rules, err = rules.Detection(conf.Rules.Detection); err != nil {
				return err
			}
			if cmd.Flags().Changed("budget") {
				cfg.Rules.Budget = budget
				if err := cfg.Rules.Validate(); err != nil {
					return fmt.Errorf("--budget: %w", err)
				}
			}
			if until != "" {
				if cfg.WarmupUntil, err = time.Parse(time.RFC3339, until); err != nil {
					return fmt.Errorf("--warmup-until: %w", err)
				}
			}
			cfg.Files = files
			if peers != "" {
				if until == "" {
					return errors.New("--peers: want --warmup-until too, the end of the time to learn from")
				}
				cfg.Peers = func(p *detect.Peers) error { return rules.WritePeers(peers, p) }
			}
			var size int64
			for _, f := range files {
				info, err := os.Stat(f)
				if err != nil {
					return err
				}
				size += info.Size()
			}
			progress := io.Discard
			if !quiet && isTerminal(cmd.ErrOrStderr()) {
				progress = cmd.ErrOrStderr()
			}
			bar := progressbar.NewOptions64(size, progressbar.OptionSetWriter(progress), progressbar.OptionSetDescription("backtest"),
				progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionOnCompletion(func() { fmt.Fprintln(progress) }))
			report, err := backtest.Run(cmd.Context(), cfg, func(n int) { mustSucceed(bar.Add(n)) })
			if err != nil {
				return err
			}
			if out == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
			}
			return report.Print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&cfg.Labels, "labels", "", "file of labels by session")
	cmd.Flags().StringVar(&until, "warmup-until", "", "learn what is normal for peers before this time (RFC 3339)")
	cmd.Flags().StringVar(&peers, "peers", "", "write what was learned of peers to this file, for rules.peers")
	cmd.Flags().Float64Var(&budget, "budget", 0, "tolerable false findings per agent-day (default: as the rules say)")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress bar")
	mustSucceed(addFormat(cmd, &out))
	return cmd
}
