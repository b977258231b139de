// Command play runs the chaos harness against a built binary and prints what
// came of it in one line. When something was lost or doubled, it says what, and
// with which seed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/stakeout-project/stakeout/cmd/internal/chaos"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	cfg := chaos.DefaultConfig()
	flag.StringVar(&cfg.Binary, "binary", "bin/stakeout", "stakeout, as it was built")
	flag.StringVar(&cfg.Kafka, "kafka", cfg.Kafka, "embedded or real")
	flag.IntVar(&cfg.Rounds, "rounds", cfg.Rounds, "disturbances")
	flag.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "of the disturbances and the log")
	flag.DurationVar(&cfg.Pause, "pause", cfg.Pause, "mean time between two disturbances")
	flag.IntVar(&cfg.Agents, "agents", cfg.Agents, "in the fleet")
	flag.Float64Var(&cfg.Days, "days", cfg.Days, "of its log")
	flag.StringVar(&cfg.Fill, "fill", cfg.Fill, "a server whose disk is full in half of the rounds: kafka, nats or clickhouse")
	flag.Parse()

	dir, err := os.MkdirTemp("", "stakeout-chaos-")
	if err != nil {
		return err
	}
	cfg.Dir = dir
	res, err := chaos.Run(ctx, cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err = errors.Join(err, res.Err()); err != nil {
		fmt.Println(res)
		return fmt.Errorf("seed %d, data and logs in %s:\n%w", cfg.Seed, dir, err)
	}
	fmt.Fprintf(os.Stderr, "%d lines, %d torn writes, caught up %s after the last disturbance\n", res.Events, res.Torn, res.CatchUp.Round(100_000_000))
	fmt.Println(res)
	return os.RemoveAll(dir)
}
