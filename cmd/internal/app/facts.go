package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage"
)

// sharing is the part of the detect role that judges what several agents share:
// it reads the facts that [detection] told and sends findings. The facts are the log
// of its own state: who takes over a partition of them reads it from the
// beginning, so there is nothing to write down at a checkpoint and nothing that an
// evicted owner could spoil.
type sharing struct {
	topics   Topics
	rules    detect.Rules
	client   *stream.Client
	log      *slog.Logger
	metrics  *sharingMetrics
	findings *prometheus.CounterVec // by detector
	limit    int                    // of entities in a partition
}

// shared is the work on one partition of facts.
type shared struct {
	*sharing
	partition int
	engine    *entity.Engine
	counted   entity.Stats
	out       *stream.Producer // of findings and rejects
	unsent    bool
}

// errReached ends the reading of a partition where its processing begins.
var errReached = errors.New("reached")

// open takes over a partition. What was processed before is learned, without a finding.
func (s *sharing) open(ctx context.Context, p stream.Owned) (stream.Processor, error) {
	started := time.Now()
	w := &shared{sharing: s, partition: p.Partition, engine: entity.New(s.rules)}
	w.engine.SetLimit(s.limit)
	var err error
	if w.out, err = s.client.NewProducer(ctx); err != nil {
		return nil, fmt.Errorf("open partition %d of %s: %w", p.Partition, p.Topic, err)
	}
	_, err = s.client.ReadPartition(ctx, p.Topic, p.Partition, -1, func(r *stream.Record) error {
		if r.Offset >= p.Next {
			return errReached
		}
		if _, err := w.learn(r); err != nil {
			s.log.Debug("fact cannot be judged", "partition", p.Partition, "offset", r.Offset, "err", err) // it was rejected when it came
		}
		return nil
	})
	if err != nil && !errors.Is(err, errReached) {
		return nil, fmt.Errorf("restore the entities of partition %d: %w", p.Partition, err)
	}
	took := time.Since(started)
	s.metrics.entities.WithLabelValues(strconv.Itoa(p.Partition)).Set(float64(w.engine.Entities()))
	s.log.Info("entities restored", "partition", p.Partition, "entities", w.engine.Entities(), "next", p.Next, "took", took.Round(time.Millisecond))
	w.counted = w.engine.Stats()
	return w, nil
}

// Process implements [stream.Processor]. Findings are acknowledged before it returns.
func (w *shared) Process(ctx context.Context, batch []stream.Record) error {
	for i := range batch {
		r := &batch[i]
		found, err := w.learn(r)
		if err != nil {
			if err := w.reject(r, err); err != nil {
				return err
			}
		}
		for i, f := range found {
			var source []stream.Header
			if w.engine.Sources()[i] != "" { // and so the one of this fact, too
				source = sourceOf(r)
			}
			if err := appendFinding(w.out, w.topics.Findings, r, &f, source); err != nil {
				return err
			}
			w.unsent = true
			w.findings.WithLabelValues(f.Detector).Inc()
		}
	}
	if w.unsent {
		if err := w.out.Flush(ctx); err != nil {
			return fmt.Errorf("send findings: %w", err)
		}
		w.unsent = false
	}
	stats := w.engine.Stats()
	w.metrics.judged.Add(float64(stats.Facts - w.counted.Facts))
	w.metrics.forgotten.Add(float64(stats.Forgotten - w.counted.Forgotten))
	w.metrics.entities.WithLabelValues(strconv.Itoa(w.partition)).Set(float64(w.engine.Entities()))
	w.counted = stats
	return nil
}

// Checkpoint implements [stream.Processor]. The findings are out already.
func (w *shared) Checkpoint(context.Context) error { return nil }

// Close implements io.Closer: what is told of the partition is no longer ours to tell.
func (w *shared) Close() error {
	w.metrics.entities.DeleteLabelValues(strconv.Itoa(w.partition))
	return nil
}

// learn gives one record to the engine. A record that makes it panic is an
// error of that record alone.
func (w *shared) learn(r *stream.Record) (found []detect.Finding, err error) {
	defer recovered(&err)
	f, err := detect.ParseFact(r.Value)
	if err != nil {
		return nil, err
	}
	return w.engine.Observe(&f), nil
}

// reject sends a record that is no fact aside, with the reason.
func (w *shared) reject(r *stream.Record, cause error) error {
	if err := appendReject(w.out, w.topics.Rejects, r, cause); err != nil {
		return err
	}
	w.unsent = true
	w.metrics.rejected.Inc()
	w.log.Warn("fact cannot be judged", "partition", r.Partition, "offset", r.Offset, "err", cause)
	return nil
}

// appendFinding sends a finding that follows from a record, and from which source.
func appendFinding(out *stream.Producer, topic string, r *stream.Record, f *detect.Finding, source []stream.Header) error {
	value, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode finding %s: %w", f.ID, err)
	}
	found := stream.Header{Key: triage.FoundHeader, Value: triage.AppendFound(nil, time.Now())}
	out.AppendAt(r.Time, topic, -1, []byte(f.Agent), value, append(source, found)...)
	return nil
}

// sourceOf is the header of a record that tells from which raw record it follows.
// What follows from the record bears it too, so that triage knows on whose word
// a finding rests.
func sourceOf(r *stream.Record) []stream.Header {
	for _, h := range r.Headers {
		if h.Key == event.SourceHeader {
			return []stream.Header{{Key: h.Key, Value: slices.Clone(h.Value)}}
		}
	}
	return nil
}

type sharingMetrics struct {
	judged, rejected, forgotten prometheus.Counter
	entities                    *prometheus.GaugeVec
}

func newSharingMetrics(reg prometheus.Registerer) (*sharingMetrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "stakeout_detect_" + name, Help: help})
	}
	m := &sharingMetrics{
		judged:    counter("facts_judged_total", "Facts about what agents share that were judged."),
		rejected:  counter("facts_rejected_total", "Records of the facts that could not be judged and went to the rejects."),
		forgotten: counter("forgotten_entities_total", "Shared things that were forgotten to make room: a partition holds detect.max_entities."),
		entities:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "stakeout_detect_entities", Help: "Shared things that are known, by partition of the facts."}, []string{"partition"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.judged, m.rejected, m.forgotten, m.entities} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
