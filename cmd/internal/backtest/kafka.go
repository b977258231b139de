package backtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// Log is what a [Range] reads from: a [stream.Client].
type Log interface {
	Offsets(ctx context.Context, topic string) ([]stream.Range, error)
	ReadPartition(ctx context.Context, topic string, partition int, from int64, fn func(*stream.Record) error) (next int64, err error)
}

// A Position is a place in a log: an offset, the same in each partition, or a
// time, which is that of the first record that Kafka took then or later.
type Position struct {
	Offset int64
	Time   time.Time // zero: the offset counts
}

// ParsePosition reads an offset, a time (RFC 3339), or a time before now such as -24h.
func ParsePosition(s string, now time.Time) (Position, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
		return Position{Offset: n}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d < 0 {
		return Position{Time: now.Add(d)}, nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return Position{}, fmt.Errorf("is %q, want an offset, a time such as 2026-01-19T00:00:00Z, or one before now such as -24h", s)
	}
	return Position{Time: at}, nil
}

// A Range is a stretch of the topic of events.
type Range struct {
	log       Log
	topic     string
	parts     []stream.Range
	operation string // key of the header that makes a record a decision about a baseline
}

// OpenRange finds the records between two positions: from the first of them up
// to, and without, the last. Records that are written later do not belong to it.
// A record with a header of the key operation is a decision about a baseline.
func OpenRange(ctx context.Context, log Log, topic, operation string, from, to Position) (*Range, error) {
	parts, err := log.Offsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("find the records of %s: %w", topic, err)
	}
	r := &Range{log: log, topic: topic, operation: operation}
	for p, all := range parts {
		first, err := r.seek(ctx, p, all, from)
		if err != nil {
			return nil, err
		}
		next, err := r.seek(ctx, p, all, to)
		if err != nil {
			return nil, err
		}
		r.parts = append(r.parts, stream.Range{First: first, Next: max(first, next)})
	}
	return r, nil
}

// Records is how many offsets the range spans.
func (r *Range) Records() (n int64) {
	for _, p := range r.parts {
		n += p.Next - p.First
	}
	return n
}

// seek returns the offset of a position in a partition. Times are in the order of
// the offsets but for what several partitions of raw records brought together, so
// halving finds the place up to that.
func (r *Range) seek(ctx context.Context, partition int, all stream.Range, at Position) (int64, error) {
	if at.Time.IsZero() {
		return min(max(at.Offset, all.First), all.Next), nil
	}
	low, high := all.First, all.Next
	for low < high {
		mid := low + (high-low)/2
		var found *stream.Record
		_, err := r.log.ReadPartition(ctx, r.topic, partition, mid, func(rec *stream.Record) error {
			found = &stream.Record{Offset: rec.Offset, Time: rec.Time}
			return errEnough
		})
		if err != nil && !errors.Is(err, errEnough) {
			return 0, err
		}
		if found == nil || !found.Time.Before(at.Time) {
			high = mid
		} else {
			low = found.Offset + 1
		}
	}
	return min(low, all.Next), nil
}

// errEnough ends the reading of a partition.
var errEnough = errors.New("enough")

// head is the next event of a partition.
type head struct {
	next      func() (*stream.Record, error, bool)
	left      bool
	partition int
	record    *stream.Record
	decoder   event.Decoder
	told      event.Source // by the last record that had one, for its strings
	source    event.Source
	event     event.Event
	operation detect.Operation
}

// read gives take the events of all partitions, those of one partition in their
// order, and of several the earliest first.
func (r *Range) read(ctx context.Context, progress func(int), no *rejected, take taker) error {
	var heads []*head
	for p, part := range r.parts {
		next, stop := iter.Pull2(r.records(ctx, p, part))
		defer stop()
		h := &head{next: next, partition: p}
		if err := r.advance(h, progress, no); err != nil {
			return err
		}
		heads = append(heads, h)
	}
	for {
		var first *head
		for _, h := range heads {
			if h.left && (first == nil || h.event.Time < first.event.Time) {
				first = h
			}
		}
		if first == nil {
			return ctx.Err()
		}
		if err := take(&first.event, first.source, first.operation); err != nil {
			return err
		}
		if err := r.advance(first, progress, no); err != nil {
			return err
		}
	}
}

// records yields the records of a partition, each valid until the next.
func (r *Range) records(ctx context.Context, partition int, part stream.Range) iter.Seq2[*stream.Record, error] {
	return func(yield func(*stream.Record, error) bool) {
		if part.First == part.Next {
			return
		}
		_, err := r.log.ReadPartition(ctx, r.topic, partition, part.First, func(rec *stream.Record) error {
			if rec.Offset >= part.Next || !yield(rec, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}

// advance decodes the next record of a partition that is an event.
func (r *Range) advance(h *head, progress func(int), no *rejected) error {
	for {
		var err error
		if h.record, err, h.left = h.next(); err != nil || !h.left {
			return err
		}
		progress(1)
		err = h.decode(r.operation)
		if err == nil {
			return nil
		}
		no.add(fmt.Sprintf("%s/%d/%d", r.topic, h.partition, h.record.Offset), err)
	}
}

func (h *head) decode(operation string) error {
	h.source, h.operation = event.Source{}, ""
	for _, header := range h.record.Headers {
		switch header.Key {
		case event.SourceHeader:
			if err := h.told.Parse(header.Value); err != nil {
				return err
			}
			h.source = h.told
		case operation:
			h.operation = detect.Operation(header.Value)
		}
	}
	return h.decoder.Decode(h.record.Value, &h.event)
}
