package ingest_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// A cluster is a broker with the topics of ingest, and a client of it.
type cluster struct {
	t      *testing.T
	client *stream.Client
	log    *slog.Logger
	reg    *prometheus.Registry
}

func start(t *testing.T, change func(*stream.Config)) *cluster {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	broker := local.DefaultKafkaConfig()
	broker.Listen = "127.0.0.1:0"
	k, err := local.StartKafka(broker, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := stream.DefaultConfig()
	cfg.Brokers = []string{k.Addr()}
	cfg.HeartbeatInterval, cfg.SessionTimeout, cfg.FetchMaxWait = 500*time.Millisecond, 6*time.Second, 50*time.Millisecond
	if change != nil {
		change(&cfg)
	}
	reg := prometheus.NewRegistry()
	client, err := stream.Open(cfg, reg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	names := ingest.DefaultConfig()
	if err := client.EnsureTopics(t.Context(),
		stream.Topic{Name: names.Raw[0], Partitions: 2},
		stream.Topic{Name: names.Events, Partitions: 3},
		stream.Topic{Name: names.Rejects, Partitions: 1},
	); err != nil {
		t.Fatal(err)
	}
	return &cluster{t: t, client: client, log: log, reg: reg}
}

// A raw is a record of the raw topic.
type raw struct {
	at    time.Time
	value string
}

// write puts records into a raw partition.
func (c *cluster) write(partition int, records ...raw) {
	c.t.Helper()
	p, err := c.client.NewProducer(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range records {
		p.AppendAt(r.at, ingest.DefaultConfig().Raw[0], partition, nil, []byte(r.value))
	}
	if err := p.Flush(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// An out is a record of the events topic.
type out struct {
	Key    string
	Value  string
	Source event.Source
	Time   time.Time
}

func (c *cluster) events() (all []out) {
	for partition := range 3 {
		c.read(ingest.DefaultConfig().Events, partition, func(r *stream.Record) error {
			o := out{Key: string(r.Key), Value: string(r.Value), Time: r.Time.UTC()}
			if len(r.Headers) != 1 || r.Headers[0].Key != event.SourceHeader {
				c.t.Errorf("an event has headers %v", r.Headers)
			} else if err := o.Source.Parse(r.Headers[0].Value); err != nil {
				return err
			}
			all = append(all, o)
			return nil
		})
	}
	return all
}

func (c *cluster) rejects() (all []ingest.Reject) {
	c.read(ingest.DefaultConfig().Rejects, 0, func(r *stream.Record) error {
		var no ingest.Reject
		all = append(all, no)
		return json.Unmarshal(r.Value, &all[len(all)-1])
	})
	return all
}

func (c *cluster) read(topic string, partition int, fn func(*stream.Record) error) {
	c.t.Helper()
	if _, err := c.client.ReadPartition(c.t.Context(), topic, partition, -1, fn); err != nil {
		c.t.Fatal(err)
	}
}

// run runs in until both output topics hold so many records, and some
// heartbeats more would have shown others.
func (c *cluster) run(in *ingest.Ingest, events, rejects int64) {
	c.t.Helper()
	ctx, stop := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			c.t.Fatalf("Run ended with %v before %d events and %d rejects were there", err, events, rejects)
		case <-tick.C:
		}
		names := ingest.DefaultConfig()
		if c.size(names.Events) >= events && c.size(names.Rejects) >= rejects {
			break
		}
	}
	stop()
	if err := <-done; err != nil {
		c.t.Fatal(err)
	}
	names := ingest.DefaultConfig()
	if e, r := c.size(names.Events), c.size(names.Rejects); e != events || r != rejects {
		c.t.Fatalf("there are %d events and %d rejects, want %d and %d", e, r, events, rejects)
	}
}

// size returns how many records a topic has got so far.
func (c *cluster) size(topic string) (n int64) {
	c.t.Helper()
	ranges, err := c.client.Offsets(c.t.Context(), topic)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range ranges {
		n += r.Next - r.First
	}
	return n
}
