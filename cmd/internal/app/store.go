package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage/command"
)

func (p *process) store(ctx context.Context) error {
	s, err := p.openStore(ctx)
	if err != nil {
		return err
	}
	nc, err := command.Connect(p.cfg.Actions.NATS, "stakeout-store", p.log)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer nc.Close()
	p.health.add("actions", func() error { return command.Down(nc) })
	js, err := jetstream.New(nc)
	if err != nil {
		return errors.Join(fmt.Errorf("jetstream: %w", err), s.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	for topic, open := range map[string]stream.Opener{
		p.cfg.Topics.Events: s.OpenEvents, p.cfg.Topics.Findings: s.OpenFindings, p.cfg.Topics.Profiles: s.OpenProfiles, p.cfg.Topics.Rejects: s.OpenRejects,
	} {
		g.Go(func() error {
			return p.client.Run(ctx, stream.Group{Name: p.cfg.Groups.Store + "-" + topic, Topics: []string{topic}}, open)
		})
	}
	g.Go(func() error { return s.RunActions(ctx, js, p.cfg.Actions.Trust) })
	g.Go(func() error { return s.RunCases(ctx, js, p.cfg.Actions.Trust) })
	for _, name := range []string{command.Actions, command.Acks} {
		g.Go(func() error { return s.RunAudit(ctx, js, name) })
	}
	from := store.Origins{Kafka: p.client, Events: p.cfg.Topics.Events, Findings: p.cfg.Topics.Findings, Profiles: p.cfg.Topics.Profiles, Rejects: p.cfg.Topics.Rejects,
		JetStream: js, Keys: p.cfg.Actions.Trust}
	g.Go(func() error { return s.RunRestore(ctx, from) })
	return errors.Join(g.Wait(), s.Close())
}

// openStore waits for ClickHouse: a store that starts before its database is no failure.
func (p *process) openStore(ctx context.Context) (*store.Store, error) {
	p.health.add("clickhouse", func() error { return errors.New("not reached yet") })
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		s, err := p.tryStore(ctx)
		if err == nil {
			p.health.add("clickhouse", s.Ready)
			return s, nil
		}
		p.health.add("clickhouse", func() error { return err })
		p.log.Warn("clickhouse is not ready", "err", err, "retry_in", wait)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (p *process) tryStore(ctx context.Context) (*store.Store, error) {
	s, err := store.Open(ctx, p.cfg.Store, p.reg, p.log)
	if err != nil {
		return nil, err
	}
	if err := s.Migrate(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}
