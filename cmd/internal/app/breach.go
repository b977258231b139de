package app

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage"
)

// watchStopped holds the events against the stops that were verified until ctx
// ends, in a group of its own: a busy triage does not make it late.
func (p *process) watchStopped(ctx context.Context, t *triage.Triage) error {
	w, err := triage.NewBreach(t, p.sendFinding, p.reg)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.Run(ctx) })
	g.Go(func() error {
		return p.client.Run(ctx, stream.Group{Name: p.cfg.Triage.Group + "-watch", Topics: []string{p.cfg.Topics.Events}}, w.Open)
	})
	return g.Wait()
}

// sendFinding puts a finding into the topic of findings, with the time at which
// its event was taken in, where it came from and by which list of sources that is trusted. It
// rests on nothing else that was told.
func (p *process) sendFinding(ctx context.Context, f detect.Finding, about *stream.Record, trust string) error {
	value, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode finding %s: %w", f.ID, err)
	}
	out, err := p.client.NewProducer(ctx)
	if err != nil {
		return err
	}
	found := stream.Header{Key: triage.FoundHeader, Value: triage.AppendFound(nil, time.Now())}
	out.AppendAt(about.Time, p.cfg.Topics.Findings, -1, []byte(f.Agent), value, append(append(sourceOf(about), (&trusting{version: trust}).header()...), found)...)
	return out.Flush(ctx)
}
