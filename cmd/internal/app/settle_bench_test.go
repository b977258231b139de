package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// BenchmarkJointFinding is the time from the line in which a second agent uses a token to
// the finding, while fifty others send two hundred lines a second, over eight partitions.
func BenchmarkJointFinding(b *testing.B) {
	ctx, stop := context.WithCancel(b.Context())
	log := slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	kafka := local.DefaultKafkaConfig()
	kafka.Listen, kafka.Dir = "127.0.0.1:0", b.TempDir()
	k, err := local.StartKafka(kafka, log)
	check(b, err)
	defer func() { check(b, k.Close()) }()
	cfg := DefaultConfig()
	cfg.HTTP.Listen, cfg.Kafka.Brokers = "", []string{k.Addr()}
	client, err := stream.Open(cfg.Kafka, prometheus.NewRegistry(), log)
	check(b, err)
	defer client.Close()
	check(b, client.EnsureTopics(ctx, cfg.Topics.All()...))
	done := make(chan error, 2)
	go func() { done <- Run(ctx, cfg, log, Ingest, Detect) }()
	send := func(out *stream.Producer, events ...event.Event) {
		for _, ev := range events {
			out.Append(cfg.Topics.Raw[0], -1, []byte(ev.Agent), ev.AppendJSON(nil))
		}
		check(b, out.Flush(b.Context()))
	}
	out, err := client.NewProducer(ctx)
	check(b, err)
	old := time.Since(use("ann", 220).Time.Time())
	for i := range 220 {
		for _, agent := range []string{"ann", "bob"} {
			ev := *use(agent, i)
			ev.Time = event.At(ev.Time.Time().Add(old))
			send(out, ev)
		}
	}
	go func() {
		others, err := client.NewProducer(ctx)
		for i := 0; err == nil && ctx.Err() == nil && pause(ctx, 5*time.Millisecond); i++ {
			ev := *use(fmt.Sprint("other-", i%50), i)
			ev.Time = event.At(time.Now())
			others.Append(cfg.Topics.Raw[0], -1, []byte(ev.Agent), ev.AppendJSON(nil))
			err = others.Flush(ctx)
		}
		done <- unlessDone(ctx, err)
	}()

	next := make([]int64, cfg.Topics.Partitions)
	found := func(token string) (ok bool) {
		for p := range next {
			var err error
			next[p], err = client.ReadPartition(b.Context(), cfg.Topics.Findings, p, next[p], func(r *stream.Record) error {
				var f detect.Finding
				ok = ok || bytes.Contains(r.Value, []byte(token)) && json.Unmarshal(r.Value, &f) == nil && f.Detector == detect.SharedCredentialDetector
				return nil
			})
			check(b, err)
		}
		return ok
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		token := fmt.Sprintf("token-%d-", i)
		grant := func(agent string) event.Event {
			return event.Event{ID: token + agent, Time: event.At(time.Now()), Name: event.CredentialUse, Agent: agent, Session: token + agent,
				CredentialID: token, CredentialIssuer: "https://" + token + ".example"}
		}
		send(out, grant("ann"))
		began := time.Now()
		send(out, grant("bob"))
		for !found(token) {
			if time.Since(began) > 30*time.Second {
				b.Fatal("nothing is found")
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
	stop()
	check(b, <-done)
	check(b, <-done)
}
