// Package chaos runs the pipeline as separate processes, under load, and breaks
// it: it kills, freezes and cuts off one part after the other. When everything
// has been left alone for a while it looks from outside, with clients of Kafka,
// ClickHouse and JetStream that are not ours, whether anything was lost or
// doubled against an undisturbed run over the same log.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/rules"
)

// What Kafka is.
const (
	Embedded = "embedded"
	Real     = "real"
)

// Config says what is broken, and how often.
type Config struct {
	Binary string        // of stakeout
	Kafka  string        // Embedded or Real
	Rounds int           // disturbances
	Seed   uint64        // of the disturbances and the log
	Pause  time.Duration // mean time between two disturbances
	Agents int           // in the fleet
	Days   float64       // of its log
	Dir    string        // of all data; it must be empty
	Fill   string        // a server whose disk is full in half of the rounds; empty: none more than the others

	only   []string      // parts; others are left alone, and these are only killed
	settle time.Duration // how long everything may take to catch up once it is left alone
}

// DefaultConfig breaks something every two and a half seconds. It lacks Binary and Dir.
func DefaultConfig() Config {
	return Config{Kafka: Embedded, Rounds: 20, Seed: 1, Pause: 2500 * time.Millisecond, Agents: 30, Days: 12, settle: 2 * time.Minute}
}

// Validate names every setting that cannot be used.
func (c Config) Validate() error {
	var errs []error
	if c.Kafka != Embedded && c.Kafka != Real {
		errs = append(errs, fmt.Errorf("kafka: is %q, want %s or %s", c.Kafka, Embedded, Real))
	}
	if c.Rounds < 1 {
		errs = append(errs, fmt.Errorf("rounds: is %d, want 1 or more", c.Rounds))
	}
	if c.Pause <= 0 {
		errs = append(errs, fmt.Errorf("pause: is %s, want more than 0s", c.Pause))
	}
	if c.Fill != "" && !slices.Contains(serverNames(), c.Fill) {
		errs = append(errs, fmt.Errorf("fill: is %q, want one of %s", c.Fill, strings.Join(serverNames(), ", ")))
	}
	return errors.Join(errs...)
}

// serverNames are the names of the parts that are no roles.
func serverNames() []string { return []string{"kafka", "nats", "clickhouse"} }

// A Result is what was done and what came of it.
type Result struct {
	Killed, Frozen, Cut, Full int
	Torn                      int // of the killed, lost the end of a write
	Events, Findings, Actions int
	Lost, Doubled             int
	ActionsDoubled            int
	CatchUp                   time.Duration // from the last disturbance until nothing was missing
	Problems                  []string
}

// Err is nil when nothing was lost or doubled and no process ended by itself.
func (r Result) Err() error {
	if len(r.Problems) == 0 && r.Lost == 0 && r.Doubled == 0 && r.ActionsDoubled == 0 {
		return nil
	}
	return errors.New(strings.Join(r.Problems, "\n"))
}

func (r Result) String() string {
	return fmt.Sprintf("killed %d, frozen %d, cut %d, full %d, findings %d, lost %d, doubled %d, actions %d, doubled %d",
		r.Killed, r.Frozen, r.Cut, r.Full, r.Findings, r.Lost, r.Doubled, r.Actions, r.ActionsDoubled)
}

// Run builds the pipeline, breaks it and looks what came of it. An error is one
// of the harness; what the pipeline did wrong is in the result.
func Run(ctx context.Context, cfg Config, log *slog.Logger) (res Result, err error) {
	if err := cfg.Validate(); err != nil {
		return res, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return res, err
	}
	detection, err := rules.Detection("")
	if err != nil {
		return res, err
	}
	lines, err := history(cfg.Seed, cfg.Agents, cfg.Days)
	if err != nil {
		return res, err
	}
	for i, p := range poison() {
		at := (i + 1) * len(lines) / 3
		lines = append(lines[:at], append([]line{p}, lines[at:]...)...)
	}
	w, err := build(ctx, cfg, log)
	if err != nil {
		return res, err
	}
	defer func() {
		w.keep = err != nil || res.Err() != nil
		err = errors.Join(err, w.close())
	}()

	load := &loader{addr: w.kafkaAddr, topic: w.app.Topics.Raw[0], lines: lines, over: time.Duration(cfg.Rounds) * cfg.Pause}
	loaded := make(chan error, 1)
	loadCtx, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	go func() { loaded <- load.run(loadCtx) }()
	m := newMischief(w)
	if err := errors.Join(m.run(ctx), m.end()); err != nil {
		return res, errors.Join(err, func() error { stopLoad(); return <-loaded }())
	}
	if err := <-loaded; err != nil {
		return res, err
	}
	log.Info("left alone", "lines", load.sent)
	t, took, err := w.settled(ctx, func(ctx context.Context) (*tally, error) { return w.compare(ctx, lines, detection) })
	if err != nil {
		return res, err
	}
	res = Result{Killed: m.killed, Frozen: m.frozen, Cut: m.cut, Full: m.full, Torn: m.torn, Events: len(lines), Findings: t.findings, Actions: t.actions,
		Lost: t.lost, Doubled: t.doubled, ActionsDoubled: t.actionsDoubled, CatchUp: took, Problems: t.problems}
	res.Problems = append(res.Problems, w.fallen()...)
	return res, nil
}

// settled compares until nothing is wrong, and then once more after a moment:
// what is doubled may come late.
func (w *world) settled(ctx context.Context, compare func(context.Context) (*tally, error)) (t *tally, took time.Duration, err error) {
	start := time.Now()
	for {
		t, err = compare(ctx)
		if ctx.Err() != nil {
			return nil, 0, errors.Join(ctx.Err(), err)
		}
		if err == nil && t.clean() {
			break
		}
		if err != nil {
			w.log.Info("not caught up", "err", err)
		} else {
			w.log.Info("not caught up", "missing", t.lost, "beyond", t.doubled+t.actionsDoubled, "first", t.problems[0])
		}
		if fell := w.fallen(); err != nil && (len(fell) > 0 || time.Since(start) > w.cfg.settle) {
			return nil, 0, errors.Join(err, errors.New(strings.Join(fell, "\n")))
		}
		if time.Since(start) > w.cfg.settle {
			return t, time.Since(start), nil
		}
		wait(ctx, time.Second)
	}
	took = time.Since(start)
	wait(ctx, 2*sessionTimeout)
	t, err = compare(ctx)
	return t, took, err
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
