// Package ingest turns what agents' log shippers write into events.
//
// It reads raw topics, whose records hold lines of JSON, and writes each line
// that is an event in canonical form to the events topic, keyed by its agent,
// in raw order. What is not an event goes to the rejects topic with the reason
// and without its content. Nothing is dropped in silence, and nothing is kept
// between records: whoever owns a partition next decides the same.
package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// Ingest is the role that makes events of raw records.
type Ingest struct {
	cfg     Config
	client  *stream.Client
	metrics *metrics
	log     *slog.Logger

	decode func(*event.Decoder, []byte, *event.Event) error
	now    func() time.Time
}

// New makes the role. It connects to nothing.
func New(cfg Config, client *stream.Client, reg prometheus.Registerer, log *slog.Logger) *Ingest {
	return &Ingest{
		cfg: cfg, client: client, metrics: newMetrics(reg), log: log,
		decode: (*event.Decoder).Decode, now: time.Now,
	}
}

// Run consumes the raw topics until ctx ends.
func (in *Ingest) Run(ctx context.Context) error {
	return in.client.Run(ctx, stream.Group{Name: in.cfg.Group, Topics: in.cfg.Raw, Progress: true}, in.Open)
}

// Open makes the processor of one raw partition.
func (in *Ingest) Open(ctx context.Context, owned stream.Owned) (stream.Processor, error) {
	out, err := in.client.NewProducer(ctx)
	if err != nil {
		return nil, fmt.Errorf("open partition %s/%d: %w", owned.Topic, owned.Partition, err)
	}
	return in.partition(out, owned), nil
}
