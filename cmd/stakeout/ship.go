package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/cmd/internal/input"
)

func newShip(g *global) *cobra.Command {
	var out format
	var quiet bool
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "ship FILE...",
		Short: "Send JSON lines, one event a line",
		Long: `Send files of JSON lines, one event a line, to the raw topic. "-" is standard
input; files may be compressed with gzip. Every line is acknowledged by Kafka
before ship ends with status 0. Lines are not checked here: what is no event is
found by ingest and shown by 'stakeout rejects'.

A line of more than 4 MiB does not fit a Kafka record. It is reported, the others
are sent, and the exit status is 1. So it is when it is interrupted or gives up
waiting for Kafka; it then tells how many lines were acknowledged: the first ones.`,
		Example: example("stakeout ship agents.jsonl", "stakeout ship traces/*.jsonl.gz", "tail -F agents.log | stakeout ship -"),
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			if patience < 0 {
				return fmt.Errorf("--patience: is %s, want 0s or more", patience)
			}
			cfg, log, err := g.load(cmd)
			if err != nil {
				return err
			}
			if cfg, err = app.Attached(cfg); err != nil {
				return err
			}
			for _, f := range files {
				if f == "-" {
					continue
				}
				if _, err := input.Check(f); err != nil {
					return err
				}
			}
			progress := io.Discard
			if !quiet && isTerminal(cmd.ErrOrStderr()) {
				progress = cmd.ErrOrStderr()
			}
			sum, err := ship(cmd.Context(), cmd.InOrStdin(), files, progress, func(ctx context.Context, r io.Reader, name string) (app.Shipped, error) {
				return app.Ship(ctx, cfg, log, r, name, patience)
			})
			if perr := printShipped(cmd.OutOrStdout(), out, sum); perr != nil {
				return errors.Join(err, perr)
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&patience, "patience", 30*time.Second, "how long to wait for an answer of Kafka; 0 for ever")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress bar")
	mustSucceed(addFormat(cmd, &out))
	return cmd
}

// ship sends file after file and shows how far it has come.
func ship(ctx context.Context, stdin io.Reader, files []string, progress io.Writer, send func(context.Context, io.Reader, string) (app.Shipped, error)) (sum app.Shipped, err error) {
	start := time.Now()
	defer func() { sum.Seconds = time.Since(start).Seconds() }()
	for _, name := range files {
		size, in := int64(-1), stdin
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return sum, err
			}
			info, err := f.Stat()
			if err != nil {
				return sum, errors.Join(err, f.Close())
			}
			size, in = info.Size(), f
		}
		bar := progressbar.NewOptions64(size, progressbar.OptionSetWriter(progress), progressbar.OptionSetDescription(name),
			progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionOnCompletion(func() { fmt.Fprintln(progress) }))
		r := progressbar.NewReader(in, bar)
		sent, err := send(ctx, &r, name)
		if f, ok := in.(*os.File); ok && name != "-" {
			err = errors.Join(err, f.Close())
		}
		sum.Lines, sum.Bytes, sum.Refused = sum.Lines+sent.Lines, sum.Bytes+sent.Bytes, sum.Refused+sent.Refused
		if err != nil {
			return sum, fmt.Errorf("ship %s: %w", name, err)
		}
	}
	if sum.Refused > 0 {
		return sum, fmt.Errorf("%d lines were too large to send", sum.Refused)
	}
	return sum, nil
}

func printShipped(w io.Writer, f format, s app.Shipped) error {
	if f == "json" {
		return json.NewEncoder(w).Encode(s)
	}
	_, err := fmt.Fprintf(w, "%d lines, %d bytes acknowledged in %.1f s\n", s.Lines, s.Bytes, s.Seconds)
	return err
}

// isTerminal reports whether somebody is watching w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// mustSucceed is for what can fail only by a mistake in this program.
func mustSucceed(err error) {
	if err != nil {
		panic(err)
	}
}
