package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// recovery is the detect role over an embedded broker in this process: what is
// measured holds the broker's part, too.
func recovery(b *testing.B, partitions int) *detection {
	b.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	kafka := local.DefaultKafkaConfig()
	kafka.Listen, kafka.Dir = "127.0.0.1:0", b.TempDir()
	k, err := local.StartKafka(kafka, log)
	check(b, err)
	b.Cleanup(func() { check(b, k.Close()) })
	topics := DefaultTopics()
	topics.Partitions = partitions
	d := &detection{topics: topics, rules: detect.DefaultRules(), log: log, cfg: DefaultConfig().Detect, step: stream.DefaultConfig().CheckpointRecords, decode: (*event.Decoder).Decode}
	cfg := stream.DefaultConfig()
	cfg.Brokers = []string{k.Addr()}
	d.client, err = stream.Open(cfg, prometheus.NewRegistry(), log)
	check(b, err)
	b.Cleanup(d.client.Close)
	d.metrics, err = newDetectionMetrics(prometheus.NewRegistry(), d.rules)
	check(b, err)
	check(b, d.client.EnsureTopics(b.Context(), topics.All()...))
	return d
}

// fleet is the work of some agents over three weeks, and the profiles that come of it.
func fleet(b *testing.B, agents int) (events [][]byte, keys []string, profiles [][]byte) {
	b.Helper()
	cfg := simulate.DefaultConfig()
	cfg.Agents, cfg.Days = agents, 21
	f, err := simulate.New(cfg)
	check(b, err)
	engine, i := detect.New(detect.DefaultRules()), int64(0)
	for ev := range f.Events() {
		events, keys = append(events, ev.AppendJSON(nil)), append(keys, ev.Agent)
		engine.Observe(ev, i, event.Source{Topic: "stakeout.raw", Offset: i})
		i++
	}
	for _, p := range engine.Changed() {
		profiles = append(profiles, append([]byte(nil), p...))
	}
	return events, keys, profiles
}

// BenchmarkRestore takes over a partition with 100,000 agents.
func BenchmarkRestore(b *testing.B) {
	const agents = 100_000
	d := recovery(b, 1)
	_, _, profiles := fleet(b, 50)
	out, err := d.client.NewProducer(b.Context())
	check(b, err)
	size := 0
	for i := range agents {
		p := profiles[i%len(profiles)]
		size += len(p)
		out.Append(d.topics.Profiles, 0, fmt.Appendf(nil, "agent-%06d", i), p)
		if out.Buffered() > 8<<20 {
			check(b, out.Flush(b.Context()))
		}
	}
	check(b, out.Flush(b.Context()))
	for b.Loop() {
		p, err := d.open(b.Context(), stream.Owned{Topic: d.topics.Events})
		check(b, err)
		if n := p.(*watch).engine.Agents(); n != agents {
			b.Fatalf("restored %d agents, want %d", n, agents)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/100k-agents")
	b.ReportMetric(float64(size)/agents, "B/profile")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkCatchUp judges the backlog of one partition: what has gathered
// after an outage.
func BenchmarkCatchUp(b *testing.B) {
	events, keys, _ := fleet(b, 100)
	for b.Loop() {
		b.StopTimer()
		d := recovery(b, 1)
		out, err := d.client.NewProducer(b.Context())
		check(b, err)
		for i, e := range events {
			out.Append(d.topics.Events, 0, []byte(keys[i]), e)
			if out.Buffered() > 8<<20 {
				check(b, out.Flush(b.Context()))
			}
		}
		check(b, out.Flush(b.Context()))
		b.StartTimer()
		ctx, done := context.WithCancel(b.Context())
		seen := 0
		err = d.client.Run(ctx, stream.Group{Name: "catch-up", Topics: []string{d.topics.Events}}, func(ctx context.Context, p stream.Owned) (stream.Processor, error) {
			proc, err := d.open(ctx, p)
			return note(proc, func(records []stream.Record) {
				if seen += len(records); seen >= len(events) {
					done()
				}
			}), err
		})
		check(b, err)
		done()
	}
	rate := float64(b.N*len(events)) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "events/s")
	b.ReportMetric(600*1000/rate, "s-after-10min-at-1000/s")
	b.ReportMetric(0, "ns/op")
}

// note has a processor tell of the records that it has taken.
func note(p stream.Processor, took func([]stream.Record)) stream.Processor {
	if part, ok := p.(stream.Partial); ok {
		return notedPart{noted{p, took}, part}
	}
	return noted{p, took}
}

type notedPart struct {
	noted
	part stream.Partial
}

func (n notedPart) CheckpointPart(ctx context.Context, next int64) (int64, error) {
	return n.part.CheckpointPart(ctx, next)
}

type noted struct {
	stream.Processor
	took func([]stream.Record)
}

func (n noted) Process(ctx context.Context, batch []stream.Record) error {
	err := n.Processor.Process(ctx, batch)
	n.took(batch)
	return err
}

// BenchmarkRebalance has one of two members leave, under load, and measures for
// how long a partition of its is not worked on. One that crashes costs the
// session timeout besides.
func BenchmarkRebalance(b *testing.B) {
	const partitions = 8
	events, keys, profiles := fleet(b, 50)
	worst := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		d := recovery(b, partitions)
		out, err := d.client.NewProducer(b.Context())
		check(b, err)
		for p := range partitions { // 10,000 agents each
			for i := range 10_000 {
				out.Append(d.topics.Profiles, p, fmt.Appendf(nil, "agent-%d-%d", p, i), profiles[i%len(profiles)])
			}
			check(b, out.Flush(b.Context()))
		}
		ctx, stop := context.WithCancel(b.Context())
		var load, members sync.WaitGroup
		load.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				out.Append(d.topics.Events, i%partitions, []byte(keys[i%len(keys)]), events[i%len(keys)])
				if i%20 == 0 {
					if err := out.Flush(ctx); err != nil && ctx.Err() == nil {
						b.Error(err)
					}
					time.Sleep(2 * time.Millisecond) // the pace of the load
				}
			}
		})
		var mu sync.Mutex
		last, by, pause := map[int]time.Time{}, map[int]int{}, time.Duration(0)
		member := func(ctx context.Context, who int) {
			err := d.client.Run(ctx, stream.Group{Name: "rebalance", Topics: []string{d.topics.Events}}, func(ctx context.Context, p stream.Owned) (stream.Processor, error) {
				proc, err := d.open(ctx, p)
				return note(proc, func([]stream.Record) {
					mu.Lock()
					defer mu.Unlock()
					if gap := time.Since(last[p.Partition]); by[p.Partition] != who && by[p.Partition] == 1 {
						pause = max(pause, gap)
					}
					last[p.Partition], by[p.Partition] = time.Now(), who
				}), err
			})
			if err != nil {
				b.Error(err)
			}
		}
		owned := func(by1 map[int]int, who, want int) bool {
			mu.Lock()
			defer mu.Unlock()
			n := 0
			for _, w := range by1 {
				if w == who {
					n++
				}
			}
			return n >= want
		}
		until := func(ok func() bool) {
			for !ok() && b.Context().Err() == nil {
				time.Sleep(10 * time.Millisecond)
			}
		}
		first, leave := context.WithCancel(ctx)
		members.Go(func() { member(first, 1) })
		members.Go(func() { member(ctx, 2) })
		until(func() bool { return owned(by, 1, partitions/2) && owned(by, 2, partitions/2) })
		b.StartTimer()
		leave()
		until(func() bool { return owned(by, 2, partitions) })
		b.StopTimer()
		stop()
		members.Wait()
		load.Wait()
		worst = max(worst, pause)
		b.StartTimer()
	}
	b.ReportMetric(worst.Seconds(), "s-pause-worst")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s-until-all-moved")
	b.ReportMetric(0, "ns/op")
}
