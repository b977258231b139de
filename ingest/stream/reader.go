package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// A reader fetches one partition from an offset on. One goroutine uses it.
type reader struct {
	c         *Client
	topic     string
	partition int
	next      int64 // offset to fetch
	maxBytes  int   // grows where one batch is larger
	maxWait   time.Duration

	set recordSet // being decoded
	dec decoder
}

// A fetched is what a fetch said beside its records.
type fetched struct {
	highWatermark int64
	stable        int64 // end of what is readable: the first open transaction, or the high watermark
	bytes         int
	throttled     bool
}

func (c *Client) newReader(topic string, partition int, next int64) *reader {
	return &reader{
		c: c, topic: topic, partition: partition, next: next,
		maxBytes: c.cfg.FetchMaxBytes, maxWait: c.cfg.FetchMaxWait,
		dec: decoder{topic: topic, partition: partition},
	}
}

// fetch makes the decoder ready for the records from next on. After an error
// the same fetch may be repeated.
func (r *reader) fetch(ctx context.Context) (fetched, error) {
	r.release()
	// A request that was abandoned may still be on its way out, so each fetch
	// has its own.
	req := &fetchRequest{
		ReplicaID:      -1,
		MaxWaitTime:    int32(r.maxWait.Milliseconds()),
		MinBytes:       1,
		MaxBytes:       int32(r.maxBytes),
		IsolationLevel: int8(kafka.ReadCommitted),
		SessionEpoch:   -1,
		Topics: []fetchTopic{{Topic: r.topic, Partitions: []fetchPartition{{
			Partition:          int32(r.partition),
			CurrentLeaderEpoch: -1,
			FetchOffset:        r.next,
			LogStartOffset:     -1,
			PartitionMaxBytes:  int32(r.maxBytes),
		}}}},
	}
	m, err := r.c.roundTrip(ctx, r.maxWait+r.c.cfg.RequestTimeout, req)
	if err != nil {
		return fetched{}, err
	}
	res := m.(*fetchResponse)
	if err := codeError(res.ErrorCode); err != nil {
		return fetched{}, err
	}
	if len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1 {
		return fetched{}, errors.New("answer to a fetch lacks the partition")
	}
	p := &res.Topics[0].Partitions[0]
	r.set, p.RecordSet = p.RecordSet, recordSet{}
	if err := codeError(p.ErrorCode); err != nil {
		return fetched{}, err
	}
	f := fetched{highWatermark: p.HighWatermark, stable: p.LastStableOffset, bytes: len(r.set.b), throttled: res.ThrottleTimeMs > 0}
	if f.stable < 0 {
		f.stable = f.highWatermark
	}
	r.dec.reset(r.set.b, r.next, p.AbortedTransactions)
	r.c.metrics.fetchedBytes.WithLabelValues(r.topic).Add(float64(f.bytes))
	return f, nil
}

// grow raises the fetch size after a fetch that brought only a part of a batch.
func (r *reader) grow() error {
	if r.dec.missing > maxFetchBytes {
		return fmt.Errorf("%w: a batch of %d bytes", errCorrupt, r.dec.missing)
	}
	r.maxBytes = max(r.maxBytes, r.dec.missing)
	return nil
}

func (r *reader) release() { r.set.release() }

// reset moves to an offset that exists, after the broker refused next as out of
// range. What retention deleted before it was read is counted and logged. An
// offset beyond the end means that the topic was made anew or lost its end, so
// reading starts over: repeating is safe, leaving out is not.
func (r *reader) reset(ctx context.Context) error {
	var at Range
	if err := r.c.offsets(ctx, r.topic, []int{r.partition}, func(_ int, o Range) { at = o }); err != nil {
		return err
	}
	log := r.c.log.With("topic", r.topic, "partition", r.partition, "offset", r.next, "first", at.First, "next", at.Next)
	switch {
	case r.next < at.First:
		r.c.metrics.skipped.WithLabelValues(r.topic, "retention").Add(float64(at.First - r.next))
		log.Warn("records were deleted by retention before they were read", "skipped", at.First-r.next)
	case r.next > at.Next:
		log.Error("offset lies beyond the end of the partition, starting over")
	default:
		return nil
	}
	r.next = at.First
	return nil
}

// emptyEnd is after how many fetches in a row that found nothing, though
// records were written, a partition is taken to hold none: compaction can leave
// the last offsets without a record.
const emptyEnd = 3

// ReadPartition calls fn for each record from an offset (negative: the first
// there is) to the end the partition has now, and returns the offset after the
// last one. It retries until ctx ends. An error of fn is returned as it is.
func (c *Client) ReadPartition(ctx context.Context, topic string, partition int, from int64, fn func(*Record) error) (next int64, err error) {
	what := "read " + partitionKey(topic, partition)
	var at Range
	if err := c.offsets(ctx, topic, []int{partition}, func(_ int, o Range) { at = o }); err != nil {
		return from, fmt.Errorf("%s: %w", what, err)
	}
	r := c.newReader(topic, partition, max(from, at.First))
	r.maxWait = min(r.maxWait, 100*time.Millisecond)
	defer r.release()
	if from >= 0 && from < at.First {
		c.metrics.skipped.WithLabelValues(topic, "retention").Add(float64(at.First - from))
		c.log.Warn("records were deleted by retention before they were read", "topic", topic, "partition", partition, "offset", from, "first", at.First)
	}
	empty := 0
	for r.next < at.Next && empty < emptyEnd {
		var f fetched
		err := c.retry(ctx, what, func(ctx context.Context) (err error) {
			f, err = r.fetch(ctx)
			if errors.Is(err, kafka.OffsetOutOfRange) {
				return errors.Join(r.reset(ctx), err)
			}
			if err == nil {
				err = r.each(at.Next, fn)
			}
			return err
		})
		if err != nil {
			var stop *stopError
			if errors.As(err, &stop) {
				return r.next, stop.err
			}
			return r.next, err
		}
		if f.bytes == 0 && !f.throttled {
			empty++
		} else {
			empty = 0
		}
	}
	if r.next < at.Next {
		return at.Next, nil
	}
	return r.next, nil
}

// each hands the records before end to fn, one by one.
func (r *reader) each(end int64, fn func(*Record) error) error {
	for r.next < end {
		records, err := r.dec.next()
		if err != nil {
			return err
		}
		if len(records) == 0 {
			break
		}
		for i := range records {
			if records[i].Offset >= end {
				r.next = end
				return nil
			}
			if err := fn(&records[i]); err != nil {
				return &stopError{err}
			}
			r.next = records[i].Offset + 1
		}
		r.c.metrics.fetchedRecords.WithLabelValues(r.topic).Add(float64(len(records)))
	}
	r.next = max(r.next, min(r.dec.offset, end))
	if r.dec.missing > 0 && r.next < end {
		return r.grow()
	}
	return nil
}

// A stopError carries an error of a caller's function past the retries.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }
