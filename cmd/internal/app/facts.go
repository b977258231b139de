package app

import (
	"context"
	"encoding/binary"
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

// CutHeader is the key of the Kafka header that makes a record among the facts an
// [entity.Cut].
const CutHeader = "cut"

// maxHeld is how many facts a partition holds back at most, of some 0.2 KB each, and how
// many it knows when they are told again.
const maxHeld = 32_768

// sharing is the part of the detect role that judges what several agents share:
// it reads the facts that [detection] told, holds them back until those before them
// have been told, too (see [sharing.settle]), and sends findings. The facts, and the cuts
// between them that say when to go on, are the log of its own state: who takes over a
// partition of them reads it from the beginning, so there is nothing to write down
// at a checkpoint and nothing that an evicted owner could spoil.
type sharing struct {
	topics   Topics
	groups   Groups
	cfg      Detection
	rules    detect.Rules
	keeping  *keeping
	client   *stream.Client
	log      *slog.Logger
	metrics  *sharingMetrics
	findings *prometheus.CounterVec // by detector

	waits waits
}

// shared is the work on one partition of facts.
type shared struct {
	*sharing
	partition int
	queue     *entity.Queue // of facts
	fresh     waiting       // facts that are not on the waiting list yet
	engine    *entity.Engine
	counted   entity.Stats
	out       *stream.Producer // of findings and rejects
	unsent    bool
	came      []byte
}

// appendCame appends what is kept of the record that a fact came in: its offset, its time and
// what the header of its source says.
func appendCame(dst []byte, r *stream.Record) []byte {
	var source []byte
	for _, h := range r.Headers {
		if h.Key == event.SourceHeader {
			source = h.Value
		}
	}
	return append(binary.AppendVarint(binary.AppendVarint(dst, r.Offset), r.Time.UnixMilli()), source...)
}

// record is the record that a fact came in, but for its value.
func (w *shared) record(came string) *stream.Record {
	b := []byte(came)
	offset, n := binary.Varint(b)
	at, m := binary.Varint(b[n:])
	r := &stream.Record{Topic: w.topics.Facts, Partition: w.partition, Offset: offset, Time: time.UnixMilli(at)}
	if source := b[n+m:]; len(source) > 0 {
		r.Headers = []stream.Header{{Key: event.SourceHeader, Value: source}}
	}
	return r
}

// errReached ends the reading of a partition where its processing begins.
var errReached = errors.New("reached")

// open takes over a partition. What was judged before is learned, without a finding;
// what was held back is held back again.
func (s *sharing) open(ctx context.Context, p stream.Owned) (stream.Processor, error) {
	started := time.Now()
	w := &shared{sharing: s, partition: p.Partition, queue: entity.NewQueue(maxHeld), engine: entity.New(s.rules)}
	w.engine.SetLimit(s.cfg.MaxEntities)
	var err error
	if w.out, err = s.client.NewProducer(ctx); err != nil {
		return nil, fmt.Errorf("open partition %d of %s: %w", p.Partition, p.Topic, err)
	}
	_, err = s.client.ReadPartition(ctx, p.Topic, p.Partition, -1, func(r *stream.Record) error {
		if r.Offset >= p.Next {
			return errReached
		}
		return w.take(r, func(from *stream.Record, _ []detect.Finding, err error) error {
			if err != nil {
				s.log.Debug("fact cannot be judged", "partition", p.Partition, "offset", from.Offset, "err", err) // it was rejected when it came
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, errReached) {
		return nil, fmt.Errorf("restore the entities of partition %d: %w", p.Partition, err)
	}
	w.wait()
	w.gauge()
	s.log.Info("entities restored", "partition", p.Partition, "entities", w.engine.Entities(), "held", w.queue.Len(), "next", p.Next,
		"took", time.Since(started).Round(time.Millisecond))
	w.counted = w.engine.Stats()
	return w, nil
}

// Process implements [stream.Processor]. Findings are acknowledged before it returns.
func (w *shared) Process(ctx context.Context, batch []stream.Record) error {
	for i := range batch {
		if err := w.take(&batch[i], w.send); err != nil {
			return err
		}
	}
	if w.unsent {
		if err := w.out.Flush(ctx); err != nil {
			return fmt.Errorf("send findings: %w", err)
		}
		w.unsent = false
	}
	w.wait()
	stats := w.engine.Stats()
	w.metrics.judged.Add(float64(stats.Facts - w.counted.Facts))
	w.metrics.forgotten.Add(float64(stats.Forgotten - w.counted.Forgotten))
	w.gauge()
	w.counted = stats
	return nil
}

// Checkpoint implements [stream.Processor]. The findings are out already.
func (w *shared) Checkpoint(context.Context) error { return nil }

// Close implements io.Closer: what is told of the partition is no longer ours to tell.
func (w *shared) Close() error {
	w.waits.drop(w.partition)
	w.metrics.entities.DeleteLabelValues(strconv.Itoa(w.partition))
	w.metrics.held.DeleteLabelValues(strconv.Itoa(w.partition))
	return nil
}

func (w *shared) gauge() {
	w.metrics.entities.WithLabelValues(strconv.Itoa(w.partition)).Set(float64(w.engine.Entities()))
	w.metrics.held.WithLabelValues(strconv.Itoa(w.partition)).Set(float64(w.queue.Len()))
}

// wait puts the facts that came lately on the waiting list.
func (w *shared) wait() {
	if w.fresh.until != 0 {
		w.fresh.came = time.Now()
		w.waits.add(w.partition, w.fresh)
		w.fresh = waiting{}
	}
}

// take takes one record in. For each fact that can be judged now and from which something
// follows it calls found with the record of the fact and that, and for a record that cannot be, why not.
func (w *shared) take(r *stream.Record, found func(from *stream.Record, f []detect.Finding, err error) error) error {
	until, err := w.receive(r)
	if err != nil {
		return found(r, nil, err)
	}
	for {
		f, came, ok := w.queue.Next(until)
		if !ok {
			return nil
		}
		all, err := w.judge(f)
		if len(all) == 0 && err == nil {
			continue
		}
		if err := found(w.record(came), all, err); err != nil {
			return err
		}
	}
}

// receive reads one record: a fact is put among those held back, and a cut says until
// when those can be judged.
func (w *shared) receive(r *stream.Record) (until event.Timestamp, err error) {
	for _, h := range r.Headers {
		if h.Key == CutHeader {
			c, err := entity.ParseCut(r.Value)
			return c.Until, err
		}
	}
	f, err := detect.ParseFact(r.Value)
	if err != nil {
		return 0, err
	}
	w.came = appendCame(w.came[:0], r)
	if w.queue.Add(&f, w.came) {
		w.fresh.join(waiting{taken: r.Time, until: f.Place()})
	}
	return 0, nil
}

// judge gives one fact to the engine. A fact that makes it panic is an error of
// that fact alone.
func (w *shared) judge(f *detect.Fact) (found []detect.Finding, err error) {
	defer recovered(&err)
	return w.engine.Observe(f), nil
}

// send sends what follows from a fact, and a record that cannot be judged aside.
func (w *shared) send(from *stream.Record, found []detect.Finding, err error) error {
	if err != nil {
		return w.reject(from, err)
	}
	for i, f := range found {
		headers := w.keeping.now().header()
		if w.engine.Sources()[i] != "" { // and so the one of this fact, too
			headers = append(headers, from.Headers...)
		}
		if err := appendFinding(w.out, w.topics.Findings, from, &f, headers); err != nil {
			return err
		}
		w.unsent = true
		w.findings.WithLabelValues(f.Detector).Inc()
	}
	return nil
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

// appendFinding sends a finding that follows from a record, and on whose word.
func appendFinding(out *stream.Producer, topic string, r *stream.Record, f *detect.Finding, word []stream.Header) error {
	value, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode finding %s: %w", f.ID, err)
	}
	found := stream.Header{Key: triage.FoundHeader, Value: triage.AppendFound(nil, time.Now())}
	out.AppendAt(r.Time, topic, -1, []byte(f.Agent), value, append(word, found)...)
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
