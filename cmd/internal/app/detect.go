package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// detection is the detect role: it gives the pure engine its events, keeps its
// profiles in their changelog and sends its findings, and the facts it tells of
// what agents share to those who judge them: see [sharing].
type detection struct {
	topics  Topics
	rules   detect.Rules
	peers   *detect.Peers // nil: not in force
	keeping *keeping
	client  *stream.Client
	log     *slog.Logger
	metrics *detectionMetrics
	cfg     Detection
	step    int // records between two checkpoints at most

	decode func(*event.Decoder, []byte, *event.Event) error
}

// watch is the work on one partition of events.
type watch struct {
	*detection
	partition int
	engine    *detect.Engine
	kept      *trusting        // that the engine was told of
	counted   detect.Stats     // of the engine, as far as the metrics know
	out       *stream.Producer // of findings, facts and rejects
	changelog *stream.Producer // of profiles: the one of its name
	marks     []mark           // of the last checkpoints, as far back as ReplayAge
	decoder   event.Decoder
	event     event.Event
	source    event.Source
	fact      []byte
	group     []byte
	unsent    bool
}

// open takes over a partition. Its first record in the changelog of the
// profiles, a tombstone of no agent, shuts out every earlier owner; then it
// reads the changelog to the end, to which nobody else can add any more.
func (d *detection) open(ctx context.Context, p stream.Owned) (_ stream.Processor, err error) {
	started := time.Now()
	w := &watch{detection: d, partition: p.Partition, engine: detect.New(d.rules)}
	w.engine.SetLimit(d.cfg.MaxAgents)
	w.engine.UsePeers(d.peers)
	if w.out, err = d.client.NewProducer(ctx); err != nil {
		return nil, fmt.Errorf("open partition %d of %s: %w", p.Partition, p.Topic, err)
	}
	name := fmt.Sprintf("stakeout-detect-%s-%d", d.topics.Profiles, p.Partition)
	if w.changelog, err = d.client.NewFencedProducer(ctx, name); err != nil {
		return nil, fmt.Errorf("take over the profiles of partition %d: %w", p.Partition, err)
	}
	w.changelog.Append(d.topics.Profiles, p.Partition, []byte{}, nil)
	if err := w.changelog.Flush(ctx); err != nil {
		return nil, fmt.Errorf("take over the profiles of partition %d: %w", p.Partition, err)
	}
	unreadable := 0
	_, err = d.client.ReadPartition(ctx, d.topics.Profiles, p.Partition, -1, func(r *stream.Record) error {
		if err := w.engine.Restore(string(r.Key), r.Value); err != nil {
			// The agent learns anew: late, but in a clear state.
			d.metrics.unreadable.Inc()
			level := slog.LevelWarn
			if unreadable++; unreadable > 1 { // after an upgrade there may be a million
				level = slog.LevelDebug
			}
			d.log.Log(ctx, level, "profile cannot be read; its agent learns anew", "agent", detect.NameOf(string(r.Key)), "partition", p.Partition, "offset", r.Offset, "err", err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("restore the profiles of partition %d: %w", p.Partition, err)
	}
	took := time.Since(started)
	d.metrics.restore.Observe(took.Seconds())
	d.metrics.agents.WithLabelValues(strconv.Itoa(p.Partition)).Set(float64(w.engine.Agents()))
	d.log.Info("profiles restored", "partition", p.Partition, "agents", w.engine.Agents(), "unreadable", unreadable, "next", p.Next, "took", took.Round(time.Millisecond))
	return w, nil
}

// ahead is for how many events at once the profiles are read from memory: few
// enough that they stay in the nearest caches.
const ahead = 16

// Process implements [stream.Processor]. Findings are acknowledged before it
// returns, so that a batch is never waiting for a checkpoint to be acted on.
func (w *watch) Process(ctx context.Context, batch []stream.Record) error {
	if k := w.keeping.now(); k != w.kept {
		w.kept = k
		w.engine.UseTrust(k.trust)
	}
	for i := range batch {
		if i%ahead == 0 { // a record's key is its agent
			for j := i; j < min(i+ahead, len(batch)); j++ {
				w.engine.Prefetch(batch[j].Key)
			}
		}
		if err := w.observe(&batch[i]); err != nil {
			if err := w.reject(&batch[i], err); err != nil {
				return err
			}
		}
	}
	if w.unsent {
		if err := w.out.Flush(ctx); err != nil {
			return fmt.Errorf("send findings and facts: %w", err)
		}
		w.unsent = false
	}
	stats := w.engine.Stats()
	w.metrics.judged.Add(float64(stats.Judged - w.counted.Judged))
	w.metrics.unknown.Add(float64(stats.Unknown - w.counted.Unknown))
	w.metrics.repeated.Add(float64(stats.Repeated - w.counted.Repeated))
	w.metrics.forgotten.Add(float64(stats.Forgotten - w.counted.Forgotten))
	w.metrics.told.Add(float64(stats.Told - w.counted.Told))
	w.metrics.held.Add(float64(stats.Held - w.counted.Held))
	for slot, expected := range w.metrics.expected {
		expected.Add(stats.Risked[slot] - w.counted.Risked[slot])
	}
	w.metrics.agents.WithLabelValues(strconv.Itoa(w.partition)).Set(float64(w.engine.Agents()))
	w.counted = stats
	return nil
}

// Close implements io.Closer: what is told of the partition is no longer ours to tell.
func (w *watch) Close() error {
	w.metrics.agents.DeleteLabelValues(strconv.Itoa(w.partition))
	return nil
}

// observe gives one record to the engine. A record that makes it panic is an
// error of that record alone.
func (w *watch) observe(r *stream.Record) (err error) {
	defer recovered(&err)
	if err := w.decode(&w.decoder, r.Value, &w.event); err != nil {
		return err
	}
	src := event.Source{}
	for _, h := range r.Headers {
		switch h.Key {
		case event.SourceHeader:
			if err := w.source.Parse(h.Value); err != nil {
				return err
			}
			src = w.source
		case OperationHeader:
			if err := w.engine.Operate(detect.Operation(h.Value), &w.event, r.Offset, src); err != nil {
				return err
			}
			w.tell(r, src)
			return nil
		}
	}
	for _, f := range w.engine.Observe(&w.event, r.Offset, src) {
		if err := appendFinding(w.out, w.topics.Findings, r, &f, append(sourceOf(r), w.kept.header()...)); err != nil {
			return err
		}
		w.unsent = true
		w.metrics.findings.WithLabelValues(f.Detector).Inc()
	}
	w.tell(r, src)
	return nil
}

// tell sends the facts that follow from a record.
func (w *watch) tell(r *stream.Record, src event.Source) {
	facts := w.engine.Facts()
	if len(facts) == 0 {
		return
	}
	at := slices.IndexFunc(r.Headers, func(h stream.Header) bool { return h.Key == event.SourceHeader })
	source := r.Headers[max(at, 0) : at+1] // or none
	for i := range facts {
		facts[i].Source = src.Topic
		w.fact, w.group = facts[i].AppendJSON(w.fact[:0]), facts[i].AppendGroup(w.group[:0])
		w.out.AppendAt(r.Time, w.topics.Facts, -1, w.group, w.fact, source...)
	}
	w.unsent = true
}

// recovered makes a panic of the function that defers it an error of it.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = &panicError{p, debug.Stack()}
	}
}

// panicError is a panic that one record caused.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// reject sends a record that cannot be judged aside, with the reason.
func (w *watch) reject(r *stream.Record, cause error) error {
	if err := appendReject(w.out, w.topics.Rejects, r, cause); err != nil {
		return err
	}
	w.unsent = true
	w.metrics.rejected.Inc()
	w.log.Warn("record cannot be judged", "partition", r.Partition, "offset", r.Offset, "err", cause)
	return nil
}

// appendReject sends the reason why a record cannot be judged.
func appendReject(out *stream.Producer, topic string, r *stream.Record, cause error) error {
	rej := ingest.Refused(r, cause)
	var panicked *panicError
	if errors.As(cause, &panicked) {
		rej.Stack = string(panicked.stack[:min(len(panicked.stack), 4<<10)])
	}
	value, err := json.Marshal(rej)
	if err != nil {
		return fmt.Errorf("encode reject: %w", err)
	}
	out.AppendAt(r.Time, topic, -1, r.Key, value)
	return nil
}

type detectionMetrics struct {
	judged, unknown, repeated, rejected, unreadable, forgotten, told, held prometheus.Counter

	findings *prometheus.CounterVec
	agents   *prometheus.GaugeVec
	restore  prometheus.Histogram
	expected map[int]prometheus.Counter // false findings, by the detector's slot
}

func newDetectionMetrics(reg prometheus.Registerer, rules detect.Rules) (*detectionMetrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "stakeout_detect_" + name, Help: help})
	}
	m := &detectionMetrics{
		judged:     counter("events_total", "Events judged."),
		unknown:    counter("unknown_total", "Events judged of agents that are not known yet: of fewer than 200 events, or first seen less than a day before."),
		repeated:   counter("repeats_total", "Events left out because they had been judged before."),
		rejected:   counter("rejects_total", "Records that could not be judged and went to the rejects."),
		unreadable: counter("unreadable_profiles_total", "Profiles that could not be read; their agents learn anew."),
		forgotten:  counter("forgotten_agents_total", "Agents whose profile was dropped to make room: a partition holds detect.max_agents."),
		told:       counter("facts_total", "Facts told about what agents share."),
		held:       counter("facts_held_total", "Facts held back, because their agents told too many in an hour."),
		restore: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "stakeout_detect_restore_seconds",
			Help: "How long a new owner of a partition takes until it has read all profiles.", Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 30, 100}}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "stakeout_detect_findings_total", Help: "Findings by detector."}, []string{"detector"}),
		agents:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "stakeout_detect_agents", Help: "Agents with a profile, by partition of the events."}, []string{"partition"}),
	}
	risked := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "stakeout_detect_expected_false_total",
		Help: "False findings that a detector expects among those it makes, by its own rates."}, []string{"detector"})
	m.expected = map[int]prometheus.Counter{}
	for _, d := range rules.Detectors { // what first appears as 1 is no increase to Prometheus
		about := d.Detector.About()
		m.findings.WithLabelValues(about.Name)
		m.expected[int(about.Slot)] = risked.WithLabelValues(about.Name)
	}
	for _, j := range rules.Joint {
		m.findings.WithLabelValues(j.Name)
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.judged, m.unknown, m.repeated, m.rejected, m.unreadable, m.forgotten, m.told, m.held, m.findings, m.agents, m.restore, risked} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
