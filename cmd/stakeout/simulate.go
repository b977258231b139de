package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/input"
	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
)

func newSimulate() *cobra.Command {
	cfg := simulate.DefaultConfig()
	var start, out, labels string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Invent the logs of a fleet of agents, with attacks",
		Long: `Write the events of a simulated fleet as JSON lines: roles with their tools and work
hours, sessions, principals, memory stores, credentials. Attacks are injected after a
clean history and described in a file of their own (--labels); nothing in an event tells
that it belongs to one. The same arguments give the same bytes.

THREATS
  ` + strings.Join(simulate.Threats(), "\n  "),
		Example: example("stakeout simulate --agents 50 --days 14 --threats none | stakeout ship -",
			"stakeout simulate --seed 7 --threats privilege-drift,memory-poisoning --out fleet.jsonl --labels fleet.labels.jsonl"),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Start, err = time.Parse(time.RFC3339, start); err != nil {
				return fmt.Errorf("--start: is %q, want a time such as 2026-01-05T00:00:00Z", start)
			}
			if len(cfg.Threats) == 1 && cfg.Threats[0] == "none" {
				cfg.Threats = nil
			}
			fleet, err := simulate.New(cfg)
			if err != nil {
				return err
			}
			if err := input.Apart(labels, out); err != nil && labels != "-" {
				return fmt.Errorf("--labels: %w", err)
			}
			w, err := create(out, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.Close()) }()
			var told io.WriteCloser // made before the events, which may take long
			if labels != "" {
				if told, err = create(labels, cmd.OutOrStdout()); err != nil {
					return err
				}
				defer func() { err = errors.Join(err, told.Close()) }()
			}
			progress := io.Discard
			if !quiet && out != "-" && isTerminal(cmd.ErrOrStderr()) {
				progress = cmd.ErrOrStderr()
			}
			if err := writeEvents(cmd, fleet, w, int64(float64(cfg.Agents)*cfg.Days*cfg.Rate), progress); err != nil {
				return err
			}
			if told == nil {
				return nil
			}
			return writeLabels(told, fleet.Labels())
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Agents, "agents", cfg.Agents, "agents that people talk to")
	f.IntVar(&cfg.Tenants, "tenants", cfg.Tenants, "tenants they are spread over")
	f.Float64Var(&cfg.Days, "days", cfg.Days, "days of history")
	f.Float64Var(&cfg.Rate, "rate", cfg.Rate, "mean events per agent and day")
	f.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "seed of all chance")
	f.StringSliceVar(&cfg.Threats, "threats", cfg.Threats, "threats to inject: names, all or none")
	f.IntVar(&cfg.Injections, "injections", cfg.Injections, "attacks of each threat")
	f.BoolVar(&cfg.Evasive, "evasive", false, "attacks by somebody who knows how they are looked for: slow, split, in the shape of what is usual")
	f.DurationVar(&cfg.AttackFrom, "attack-from", cfg.AttackFrom, "clean history before the first attack (default 14 days, or half of it)")
	f.Float64Var(&cfg.Disorder, "disorder", cfg.Disorder, "share of events that arrive late; above 0 some also arrive twice")
	f.StringVar(&start, "start", cfg.Start.Format(time.RFC3339), "time of the first event")
	f.StringVarP(&out, "out", "o", "-", "file of events, - for standard output")
	f.StringVar(&labels, "labels", "", "file of labels, one attack a line; - for standard output")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress bar")
	mustSucceed(cmd.RegisterFlagCompletionFunc("threats", cobra.FixedCompletions(append(simulate.Threats(), "all", "none"), cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func writeEvents(cmd *cobra.Command, fleet *simulate.Fleet, w io.Writer, expected int64, progress io.Writer) error {
	bar := progressbar.NewOptions64(expected, progressbar.OptionSetWriter(progress), progressbar.OptionSetDescription("simulate"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetItsString("event"), progressbar.OptionShowIts())
	buf := bufio.NewWriterSize(w, 1<<20)
	var line []byte
	n := 0
	for ev := range fleet.Events() {
		line = append(ev.AppendJSON(line[:0]), '\n')
		if _, err := buf.Write(line); err != nil {
			return fmt.Errorf("write events: %w", err)
		}
		if n++; n%1024 == 0 {
			if err := cmd.Context().Err(); err != nil {
				return errors.Join(buf.Flush(), errInterrupted)
			}
			if int64(n) > bar.GetMax64() { // how many there are was a guess
				bar.ChangeMax64(int64(n))
			}
			if err := bar.Add(1024); err != nil {
				return err
			}
		}
	}
	return errors.Join(buf.Flush(), bar.Finish())
}

var errInterrupted = errors.New("interrupted")

func writeLabels(w io.Writer, labels []simulate.Label) error {
	enc := json.NewEncoder(w)
	for _, l := range labels {
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("write labels: %w", err)
		}
	}
	return nil
}

// create opens a file to write; "-" is stdout, which stays open.
func create(path string, stdout io.Writer) (io.WriteCloser, error) {
	if path == "-" {
		return stays{stdout}, nil
	}
	return os.Create(path)
}

type stays struct{ io.Writer }

func (stays) Close() error { return nil }
