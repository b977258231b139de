package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/cmd/internal/backtest"
	"github.com/stakeout-project/stakeout/cmd/internal/input"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/rules"
)

// backtesting is what the command line asks for.
type backtesting struct {
	cfg                    backtest.Config
	until, peers, from, to string
	findings               string
	patience               time.Duration
	budget                 float64 // 0: as the rules say
	kafka, compare, quiet  bool
	out                    format
}

func newBacktest(g *global) *cobra.Command {
	var b backtesting
	cmd := &cobra.Command{
		Use:   "backtest [--compare RULES_A RULES_B] {FILE... | --kafka}",
		Short: "See what would have been found in old logs",
		Long: `Run the engine that judges in production over files of JSON lines, or with --kafka
over the events that Kafka holds, and say what it would have found. With --labels (JSON
lines with session_id, class, phase and fold) the findings are held against the truth:
how many sessions of each class were alerted, and how well the largest evidence in a
session tells successful attacks from benign work. What 'stakeout simulate --labels'
writes will do. Findings in sessions without a label count as false; --findings lists
every one.

Before --warmup-until the engine learns what is normal for the peers of an agent, its
role and tenant; from then on that is frozen and agents are held against it too. Without
--warmup-until and --peers it is what rules.peers says, as in production. Each
agent's lines have to be in order, agents may be in any. With
--peers what was learned is written to a file that rules.peers can name. As in production,
what came by a topic that the response policy (rules.response) does not trust is kept
apart from what an agent does itself; files do not tell by which topic a line came.

With --compare the first two arguments are files of detection rules: both judge the
same events, and what the second finds more or less than the first is listed.

--from and --to are times at which Kafka took the record, times before now such as
-336h, or offsets, the same in each partition. --kafka only reads, outside every group; beside a
running 'stakeout up' it reads that one.`,
		Example: example("stakeout backtest agents.jsonl.gz",
			"stakeout backtest --labels truth.jsonl --warmup-until 2026-01-19T00:00:00Z --budget 0.01 --format json agents.jsonl.gz",
			"stakeout backtest --compare old.yaml new.yaml agents.jsonl.gz",
			"stakeout backtest --kafka --from -336h --peers peers.json"),
		RunE: func(cmd *cobra.Command, args []string) error { return b.run(cmd, g, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&b.cfg.Labels, "labels", "", "file of labels by session")
	flags.StringVar(&b.until, "warmup-until", "", "learn what is normal for peers before this time (RFC 3339)")
	flags.StringVar(&b.peers, "peers", "", "write what was learned of peers to this file, for rules.peers; without --warmup-until from all events")
	flags.StringVar(&b.findings, "findings", "", "write each finding to this file, as a line of JSON")
	flags.BoolVar(&b.compare, "compare", false, "compare two files of detection rules")
	flags.BoolVar(&b.kafka, "kafka", false, "read the events from Kafka")
	flags.StringVar(&b.from, "from", "", "begin of what is read from Kafka (default: the first event there is)")
	flags.StringVar(&b.to, "to", "", "end of what is read from Kafka (default: the last event there is)")
	flags.DurationVar(&b.patience, "patience", 30*time.Second, "how long to wait for an answer of Kafka; 0 for ever")
	flags.Float64Var(&b.budget, "budget", 0, "tolerable false findings per agent-day (default: as the rules say)")
	flags.BoolVarP(&b.quiet, "quiet", "q", false, "no progress bar")
	mustSucceed(addFormat(cmd, &b.out))
	return cmd
}

func (b *backtesting) run(cmd *cobra.Command, g *global, args []string) (err error) {
	if err := b.check(args); err != nil {
		return err
	}
	conf, log, err := g.load(cmd)
	if err != nil {
		return err
	}
	files := []string{conf.Rules.Detection}
	if b.compare {
		files, args = args[:2], args[2:]
	}
	var all []detect.Rules
	for _, name := range files {
		r, err := b.rules(name, cmd.Flags().Changed("budget"))
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	b.cfg.Files, b.cfg.Rules = args, all[0]
	policy, err := rules.Response(conf.Rules.Response)
	if err != nil {
		return err
	}
	b.cfg.Trust = policy.Trust()
	if b.cfg.WarmupUntil.IsZero() { // else they are learned anew, also where those there are cannot be read any more
		if b.cfg.InForce, err = rules.Peers(conf.Rules.Peers); err != nil {
			return err
		}
	}
	var size int64
	for _, f := range args {
		n, err := input.Check(f)
		if err != nil {
			return err
		}
		size += n
	}
	if err := b.apart(conf.Rules.Peers, append([]string{g.file, b.cfg.Labels, conf.Rules.Response}, append(files, args...)...)); err != nil {
		return err
	}
	if b.kafka {
		done, err := b.open(cmd.Context(), conf, log)
		if err != nil {
			return err
		}
		defer done()
		size = b.cfg.Kafka.Records()
	}
	if b.findings != "" {
		f, err := os.Create(b.findings)
		if err != nil {
			return fmt.Errorf("--findings: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		b.cfg.Findings = f
	}
	progress := b.progress(cmd, size)
	var result interface{ Print(io.Writer) error }
	if b.compare {
		result, err = backtest.Compare(cmd.Context(), b.cfg, all[0], all[1], progress)
	} else {
		result, err = backtest.Run(cmd.Context(), b.cfg, progress)
	}
	switch {
	case err != nil:
		return err
	case b.out == "json":
		return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
	}
	return result.Print(cmd.OutOrStdout())
}

// check refuses what does not go together, and takes in times and what depends on them.
func (b *backtesting) check(args []string) error {
	if b.compare {
		if len(args) < 2 {
			return errors.New("--compare: want two files of detection rules, and then what they judge")
		}
		if b.peers != "" {
			return errors.New("--compare: goes without --peers")
		}
		if b.findings != "" {
			return errors.New("--compare: goes without --findings; --format json lists them")
		}
		args = args[2:]
	}
	switch {
	case b.kafka && len(args) > 0:
		return fmt.Errorf("--kafka: reads Kafka instead of %s", args[0])
	case !b.kafka && len(args) == 0 && b.compare:
		return errors.New("want files of events, or --kafka, besides the two files of rules")
	case !b.kafka && len(args) == 0:
		return errors.New("want files of events, or --kafka")
	case !b.kafka && b.from+b.to != "":
		return errors.New("--from and --to: want --kafka too")
	}
	if b.peers != "" {
		b.cfg.WarmupUntil = time.Now() // no event is later
		b.cfg.Peers = func(p *detect.Peers) error { return rules.WritePeers(b.peers, p) }
	}
	if b.until != "" {
		var err error
		if b.cfg.WarmupUntil, err = time.Parse(time.RFC3339, b.until); err != nil {
			return fmt.Errorf("--warmup-until: is %q, want a time such as 2026-01-19T00:00:00Z", b.until)
		}
	}
	return nil
}

// apart refuses to write over a file that is read, such as the logs where --findings has none.
// The peers in force are read before those that are learned take their place.
func (b *backtesting) apart(inForce string, read []string) error {
	if err := input.Apart(b.findings, append(read, inForce)...); err != nil {
		return fmt.Errorf("--findings: %w", err)
	}
	if err := input.Apart(b.peers, append(read, b.findings)...); err != nil {
		return fmt.Errorf("--peers: %w", err)
	}
	return nil
}

// rules reads a file of rules, with the budget of the command line if it has one.
func (b *backtesting) rules(name string, budget bool) (detect.Rules, error) {
	r, err := rules.Detection(name)
	if err != nil || !budget {
		return r, err
	}
	r.Budget = b.budget
	if err := r.Validate(); err != nil {
		return r, fmt.Errorf("--budget: %w", err)
	}
	return r, nil
}

// open finds what is asked of Kafka. Done closes the connections.
func (b *backtesting) open(ctx context.Context, conf app.Config, log *slog.Logger) (done func(), err error) {
	from, to := backtest.Position{}, backtest.Position{Offset: math.MaxInt64}
	now := time.Now()
	if b.from != "" {
		if from, err = backtest.ParsePosition(b.from, now); err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
	}
	if b.to != "" {
		if to, err = backtest.ParsePosition(b.to, now); err != nil {
			return nil, fmt.Errorf("--to: %w", err)
		}
	}
	if conf, err = app.Attached(conf); err != nil {
		return nil, err
	}
	client, err := stream.Open(conf.Kafka, prometheus.NewRegistry(), log)
	if err != nil {
		return nil, err
	}
	err = app.Patiently(ctx, conf.Kafka, b.patience, func(ctx context.Context) (err error) {
		b.cfg.Kafka, err = backtest.OpenRange(ctx, client, conf.Topics.Events, app.OperationHeader, from, to)
		return err
	})
	if err != nil {
		client.Close()
		return nil, err
	}
	return client.Close, nil
}

// progress returns what moves a bar of that size, on a terminal. What is read may
// be more than its size, where it grows or is read twice; or has none, as a pipe.
func (b *backtesting) progress(cmd *cobra.Command, size int64) func(int) {
	out := io.Discard
	if !b.quiet && isTerminal(cmd.ErrOrStderr()) {
		out = cmd.ErrOrStderr()
	}
	if size == 0 {
		size = -1
	}
	bar := progressbar.NewOptions64(size, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription("backtest"),
		progressbar.OptionShowBytes(!b.kafka), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionOnCompletion(func() { fmt.Fprintln(out) }))
	left := size
	return func(n int) {
		if size > 0 {
			n = min(n, int(left))
			left -= int64(n)
		}
		mustSucceed(bar.Add(n))
	}
}
