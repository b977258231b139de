package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/stakeout-project/stakeout/ingest"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/rules"
	"github.com/stakeout-project/stakeout/triage"
)

func (p *process) triage(ctx context.Context) (err error) {
	var reload *reloader
	if file := p.cfg.Rules.Response; file != "" {
		if reload, err = newReloader(file, "triage", p.reg, p.log); err != nil {
			return err
		}
		if err := reload.begin(); err != nil { // before the policy is read, so that no change is missed
			return err
		}
	}
	policy, err := rules.Response(p.cfg.Rules.Response)
	if err != nil {
		return err
	}
	cfg := p.cfg.Triage
	cfg.RiskSignals = cfg.RiskSignals || p.cfg.Notify.CAEP.TellsRisk()
	t, err := triage.New(cfg, policy, p.refuse, p.reg, p.log)
	if err != nil {
		return err
	}
	defer t.Close()
	t.UseOperations(p.operate)
	if cfg.History.Enabled {
		h := &history{cfg: p.cfg.Store, log: p.log}
		defer func() { err = errors.Join(err, h.close()) }()
		t.UseHistory(h.ask)
	}
	p.health.add("nats", t.Ready)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.Run(ctx) })
	if reload != nil {
		reload.set = t.SetPolicy
		g.Go(func() error { return reload.run(ctx) })
	}
	g.Go(func() error {
		return p.client.Run(ctx, stream.Group{Name: p.cfg.Triage.Group, Topics: []string{p.cfg.Topics.Findings}}, t.Open)
	})
	g.Go(func() error { return p.watchStopped(ctx, t) })
	return g.Wait()
}

// refuse sends a record of the findings topic that is no finding to the rejects.
func (p *process) refuse(ctx context.Context, r stream.Record, cause error) error {
	value, err := json.Marshal(ingest.Refused(&r, cause))
	if err != nil {
		return fmt.Errorf("encode reject: %w", err)
	}
	out, err := p.client.NewProducer(ctx)
	if err != nil {
		return err
	}
	out.AppendAt(r.Time, p.cfg.Topics.Rejects, -1, r.Key, value)
	return out.Flush(ctx)
}
