package store

import (
	"context"
	"errors"

	"github.com/stakeout-project/stakeout/ingest/stream"
)

// errNoRow says of a record that it is nothing to store, and no mistake.
var errNoRow = errors.New("is no row")

// processor stores the records of one partition.
type processor[T any] struct {
	s      *Store
	w      *writer[T]
	decode func(*stream.Record) (row T, size int, err error)
	rows   []item[T]
	mark   uint64 // of the last row
}

// Process implements [stream.Processor]. It returns when the rows are queued,
// and waits while the queue is full.
func (p *processor[T]) Process(ctx context.Context, batch []stream.Record) error {
	p.rows = p.rows[:0]
	for i := range batch {
		r := &batch[i]
		src := position{r.Topic, r.Partition, r.Offset}
		row, size, err := p.decode(r)
		if errors.Is(err, errNoRow) {
			continue
		}
		if err != nil {
			p.s.refuse(Refused{Table: p.w.t.name, Topic: src.topic, Partition: src.partition, Offset: src.offset, Err: err})
			continue
		}
		p.rows = append(p.rows, item[T]{row, size, src})
	}
	if len(p.rows) == 0 {
		return nil
	}
	mark, err := p.w.add(ctx, p.rows)
	if err != nil {
		return err
	}
	p.mark = mark
	return nil
}

// Checkpoint implements [stream.Processor]: it returns when ClickHouse has
// acknowledged every row so far.
func (p *processor[T]) Checkpoint(ctx context.Context) error { return p.w.flush(ctx, p.mark) }

// OpenEvents is the [stream.Opener] for the topic of events.
func (s *Store) OpenEvents(ctx context.Context, o stream.Owned) (stream.Processor, error) {
	if o.Partition == 0 {
		s.lead(ctx)
	}
	return &processor[eventRow]{s: s, w: s.events, decode: new(eventDecoder).decode}, nil
}

// OpenFindings is the [stream.Opener] for the topic of findings.
func (s *Store) OpenFindings(context.Context, stream.Owned) (stream.Processor, error) {
	return &processor[findingRow]{s: s, w: s.findings, decode: decodeFinding}, nil
}

// OpenProfiles is the [stream.Opener] for the changelog of profiles.
func (s *Store) OpenProfiles(context.Context, stream.Owned) (stream.Processor, error) {
	return &processor[profileRow]{s: s, w: s.profiles, decode: decodeProfile}, nil
}

// OpenRejects is the [stream.Opener] for the topic of rejects.
func (s *Store) OpenRejects(context.Context, stream.Owned) (stream.Processor, error) {
	return &processor[rejectRow]{s: s, w: s.rejects, decode: decodeReject}, nil
}
