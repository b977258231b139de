package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// Origins are where rows come from, as far as it is kept there.
type Origins struct {
	Kafka                               Source
	Events, Findings, Profiles, Rejects string // topics
	JetStream                           jetstream.JetStream
	Keys                                command.Keyring // that outcomes are signed with
}

// A Source is Kafka: a [stream.Client].
type Source interface {
	Offsets(ctx context.Context, topic string) ([]stream.Range, error)
	ReadPartition(ctx context.Context, topic string, partition int, from int64, fn func(*stream.Record) error) (next int64, err error)
}

// restore stores the rows of parts of a table again. It returns how many rows it
// stored, which may be more than were missing, and of which parts all rows
// are kept.
func (s *Store) restore(ctx context.Context, o Origins, table string, parts []part) (rows int, whole func(part) bool, err error) {
	switch table {
	case "events":
		return s.restoreEvents(ctx, o, parts)
	case "findings":
		return restoreTopic(ctx, s, o.Kafka, o.Findings, s.findings, decodeFinding)
	case "rejects":
		return restoreTopic(ctx, s, o.Kafka, o.Rejects, s.rejects, decodeReject)
	case "profiles": // compaction keeps the latest of each agent, and that is what the table is for
		rows, _, err = restoreTopic(ctx, s, o.Kafka, o.Profiles, s.profiles, decodeProfile)
		return rows, every, err
	case "actions", "action_history":
		return s.restoreActions(ctx, o)
	case "incidents", "dispositions", "suppressions", "drafts":
		return s.restoreCases(ctx, o)
	case "audit":
		return s.restoreAudit(ctx, o)
	case "schema_migrations":
		return 0, every, s.Migrate(ctx)
	}
	return 0, none, nil
}

func every(part) bool { return true }
func none(part) bool  { return false }

// restoreTopic stores all of a topic again.
func restoreTopic[T any](ctx context.Context, s *Store, src Source, topic string, w *writer[T], decode func(*stream.Record) (T, int, error)) (rows int, whole func(part) bool, err error) {
	ranges, err := src.Offsets(ctx, topic)
	if err != nil {
		return 0, nil, err
	}
	for partition, r := range ranges {
		n, err := restoreRange(ctx, s, src, topic, partition, r, w, decode, func(*stream.Record) bool { return true })
		if err != nil {
			return 0, nil, err
		}
		rows += n
	}
	if ranges, err = src.Offsets(ctx, topic); err != nil { // again: what was deleted meanwhile was perhaps not read
		return 0, nil, err
	}
	whole = every
	if slices.ContainsFunc(ranges, func(r stream.Range) bool { return r.First > 0 }) {
		whole = none
	}
	return rows, whole, nil
}

// restoreRange stores those records of a partition again that are wanted.
func restoreRange[T any](ctx context.Context, s *Store, src Source, topic string, partition int, at stream.Range, w *writer[T],
	decode func(*stream.Record) (T, int, error), want func(*stream.Record) bool) (rows int, err error) {
	p := &processor[T]{s: s, w: w, decode: decode}
	err = read(ctx, src, topic, partition, at, func(r *stream.Record) error {
		if !want(r) {
			return nil
		}
		rows++
		return p.Process(ctx, []stream.Record{*r})
	})
	if err != nil {
		return 0, err
	}
	return rows, p.Checkpoint(ctx)
}

// errEnough ends a reading.
var errEnough = errors.New("enough")

// read calls fn for the records of a part of a partition. [errEnough] of fn ends it.
func read(ctx context.Context, src Source, topic string, partition int, at stream.Range, fn func(*stream.Record) error) error {
	if at.First >= at.Next {
		return nil
	}
	_, err := src.ReadPartition(ctx, topic, partition, at.First, func(r *stream.Record) error {
		if r.Offset >= at.Next {
			return errEnough
		}
		return fn(r)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// restoreChunk is how many events are looked for in ClickHouse at once.
const restoreChunk = 100_000

// restoreEvents stores those events again that are missing on the days of parts.
// There may be many in a day, so ClickHouse is asked which it has. An event that
// came twice, of which it has one, is stored again and replaces itself.
func (s *Store) restoreEvents(ctx context.Context, o Origins, parts []part) (rows int, whole func(part) bool, err error) {
	days := map[string]bool{}
	for _, p := range parts {
		days[p.partition] = true
	}
	ranges, err := o.Kafka.Offsets(ctx, o.Events)
	if err != nil {
		return 0, nil, err
	}
	for partition, all := range ranges {
		for at := all; at.First < at.Next; {
			missing, next, err := s.missingEvents(ctx, o, partition, at, days)
			if err != nil {
				return 0, nil, err
			}
			if len(missing) > 0 {
				var d eventDecoder
				n, err := restoreRange(ctx, s, o.Kafka, o.Events, partition, stream.Range{First: at.First, Next: next}, s.events, new(eventDecoder).decode,
					func(r *stream.Record) bool {
						src, err := d.source(r)
						return err == nil && missing[placed(src)]
					})
				if err != nil {
					return 0, nil, err
				}
				rows += n
			}
			at.First = next
		}
	}
	kept, err := keptSince(ctx, o.Kafka, o.Events) // by now: what was deleted meanwhile was perhaps not read
	if err != nil {
		return 0, nil, err
	}
	return rows, func(p part) bool {
		day, err := time.Parse("20060102", p.partition)
		return err == nil && !kept.After(day)
	}, nil
}

// keptSince is from when on a topic has all records it ever had; zero is for ever.
func keptSince(ctx context.Context, src Source, topic string) (kept time.Time, err error) {
	ranges, err := src.Offsets(ctx, topic)
	if err != nil {
		return time.Time{}, err
	}
	for partition, r := range ranges {
		since, err := partitionSince(ctx, src, topic, partition, r)
		if err != nil {
			return time.Time{}, err
		}
		if since.After(kept) {
			kept = since
		}
	}
	return kept, nil
}

// partitionSince is from when on a partition has all records it ever had.
func partitionSince(ctx context.Context, src Source, topic string, partition int, at stream.Range) (since time.Time, err error) {
	if at.First == 0 {
		return time.Time{}, nil
	}
	since = time.Now()
	err = read(ctx, src, topic, partition, at, func(r *stream.Record) error {
		since = r.Time
		return errEnough
	})
	return since, err
}

// placed is where an event comes from and no more.
func placed(src event.Source) event.Source {
	src.Ahead, src.Rounded = 0, false
	return src
}

// missingEvents finds which of the next events of some days, from the beginning of
// at, are not in ClickHouse, and the offset up to which it has looked.
func (s *Store) missingEvents(ctx context.Context, o Origins, partition int, at stream.Range, days map[string]bool) (missing map[event.Source]bool, next int64, err error) {
	missing = map[event.Source]bool{}
	var d eventDecoder
	low, high := int64(-1), int64(0)
	next = at.Next
	err = read(ctx, o.Kafka, o.Events, partition, at, func(r *stream.Record) error {
		if len(missing) == restoreChunk {
			next = r.Offset
			return errEnough
		}
		if !days[r.Time.UTC().Format("20060102")] {
			return nil
		}
		src, err := d.source(r)
		if err != nil {
			return nil // is no row, and was refused when it came
		}
		missing[placed(src)] = true
		if low < 0 || src.Offset < low {
			low = src.Offset
		}
		high = max(high, src.Offset)
		return nil
	})
	if err != nil || len(missing) == 0 {
		return nil, next, err
	}
	query := make([]string, 0, len(days))
	for day := range days {
		query = append(query, quoted(day))
	}
	rows, err := s.conn.Query(ctx, `SELECT DISTINCT src_topic, src_partition, src_offset, src_line FROM events
WHERE src_offset BETWEEN {low:UInt64} AND {high:UInt64} AND _partition_id IN (`+strings.Join(query, ", ")+`)`, arg("low", fmt.Sprint(low)), arg("high", fmt.Sprint(high)))
	if err != nil {
		return nil, 0, fmt.Errorf("look for events: %w", err)
	}
	err = each(rows, func() error {
		var topic string
		var partition, line uint32
		var offset uint64
		if err := rows.Scan(&topic, &partition, &offset, &line); err != nil {
			return err
		}
		delete(missing, event.Source{Topic: topic, Partition: int(partition), Offset: int64(offset), Line: int(line)})
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("look for events: %w", err)
	}
	return missing, next, nil
}

// quoted is a string as a literal of SQL.
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
