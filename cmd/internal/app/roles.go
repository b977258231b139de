// Package app puts the rooms together: configuration, the roles, and `up`, which
// runs them all over embedded parts.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/stakeout-project/stakeout/ingest"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/rules"
	"github.com/stakeout-project/stakeout/triage/executor"
)

// Role is one of the boxes that the pipeline is made of.
type Role string

// The roles. Each can run in any number of processes.
const (
	Ingest   Role = "ingest"
	Detect   Role = "detect"
	Triage   Role = "triage"
	Store    Role = "store"
	Executor Role = "executor"
	Canary   Role = "canary"
)

// A process is what the roles of one process share.
type process struct {
	cfg    Config
	log    *slog.Logger
	reg    *prometheus.Registry
	client *stream.Client
	health *health
	group  *errgroup.Group
}

// Run runs roles until ctx ends, and returns when the last of them has put down its work.
func Run(ctx context.Context, cfg Config, log *slog.Logger, roles ...Role) error {
	return run(ctx, cfg, log, func(context.Context, Config, *health) error { return nil }, roles...)
}

// run calls serving with the configuration in force when health and metrics are served.
func run(ctx context.Context, cfg Config, log *slog.Logger, serving func(context.Context, Config, *health) error, roles ...Role) (err error) {
	if err := cfg.ValidateRoles(roles...); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	p := &process{cfg: cfg, log: log, reg: prometheus.NewRegistry(), health: &health{}}
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := p.reg.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	if err := p.reg.Register(p.health); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	p.group = g
	if needsKafka(roles) {
		if p.client, err = stream.Open(cfg.Kafka, p.reg, log); err != nil {
			return err
		}
		defer p.client.Close()
		p.health.add("kafka", p.client.Ready)
	}
	for _, r := range roles {
		for _, part := range r.needs() {
			p.health.add(part, func() error { return errors.New("not started yet") })
		}
	}
	if err = p.serve(ctx); err != nil {
		return err
	}
	g.Go(func() error {
		boundGarbage(ctx, heapGrowth(cfg, roles))
		return nil
	})
	g.Go(func() error { return serving(ctx, p.cfg, p.health) })
	start := map[Role]func(context.Context) error{Ingest: p.ingest, Detect: p.detect, Triage: p.triage, Store: p.store, Executor: p.executor, Canary: p.canary}
	ready := make(chan struct{})
	g.Go(func() error {
		defer close(ready)
		if p.client == nil {
			return nil
		}
		return unlessDone(ctx, p.client.EnsureTopics(ctx, cfg.Topics.All()...))
	})
	for _, r := range roles {
		g.Go(func() error {
			<-ready
			if ctx.Err() != nil {
				return nil
			}
			log.Info("role started", "role", string(r))
			if err := unlessDone(ctx, start[r](ctx)); err != nil {
				return fmt.Errorf("%s: %w", r, err)
			}
			log.Info("role stopped", "role", string(r))
			return nil
		})
	}
	return g.Wait()
}

// unlessDone drops an error that is only the end of ctx.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// needs are the parts of [health], beside Kafka, without which a role is not ready.
func (r Role) needs() []string {
	switch r {
	case Triage:
		return []string{"nats"}
	case Store:
		return []string{"clickhouse", "actions"}
	case Executor:
		return []string{"executor"}
	}
	return nil
}

func needsKafka(roles []Role) bool {
	for _, r := range roles {
		if r != Executor {
			return true
		}
	}
	return false
}

func (p *process) ingest(ctx context.Context) error {
	return ingest.New(p.cfg.ingest(), p.client, p.reg, p.log).Run(ctx)
}

func (p *process) detect(ctx context.Context) error {
	peers, err := rules.Peers(p.cfg.Rules.Peers)
	if err != nil {
		return err
	}
	rules, err := rules.Detection(p.cfg.Rules.Detection)
	if err != nil {
		return err
	}
	metrics, err := newDetectionMetrics(p.reg, rules)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	var keeping keeping
	policy, err := p.followTrust(&keeping)
	if err != nil {
		return err
	}
	d := &detection{topics: p.cfg.Topics, rules: rules, peers: peers, keeping: &keeping, client: p.client, log: p.log, metrics: metrics,
		cfg: p.cfg.Detect, step: p.cfg.Kafka.CheckpointRecords, decode: (*event.Decoder).Decode}
	sharingMetrics, err := newSharingMetrics(p.reg)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	s := &sharing{topics: p.cfg.Topics, groups: p.cfg.Groups, cfg: p.cfg.Detect, rules: rules, keeping: &keeping, client: p.client, log: p.log, metrics: sharingMetrics, findings: metrics.findings}
	g, ctx := errgroup.WithContext(ctx)
	if policy != nil {
		g.Go(func() error { return policy.run(ctx) })
	}
	g.Go(func() error {
		return p.client.Run(ctx, stream.Group{Name: p.cfg.Groups.Detect, Topics: []string{p.cfg.Topics.Events}, Progress: true}, opener(d.open))
	})
	g.Go(func() error {
		return p.client.Run(ctx, stream.Group{Name: p.cfg.Groups.Facts(), Topics: []string{p.cfg.Topics.Facts}}, s.open)
	})
	g.Go(func() error { return s.settle(ctx) })
	return g.Wait()
}

func (p *process) executor(ctx context.Context) error {
	actors, err := p.cfg.notifiers(p.log)
	if err != nil {
		return err
	}
	if p.cfg.OAuth.Server.RevokeURL == "" {
		p.log.Warn("no identity provider: commands to revoke tokens stay unanswered and are paged", "want", "oauth.server.revoke_url")
	} else {
		oauth, err := executor.NewOAuth(p.cfg.OAuth.Server, executor.DirVault(p.cfg.OAuth.Vault))
		if err != nil {
			return err
		}
		actors = append(actors, oauth)
	}
	e, err := executor.New(p.cfg.Executor, p.reg, p.log, actors...)
	if err != nil {
		return err
	}
	p.health.add("executor", e.Ready)
	return e.Run(ctx)
}
