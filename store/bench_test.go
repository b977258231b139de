package store

import (
	"fmt"
	"testing"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// benchmarkStore stores records of one partition, fetched 1000 at a time, and
// reports rows per second up to the acknowledgement of the last.
func benchmarkStore(b *testing.B, opener func(*Store) stream.Opener, record func(i int64) stream.Record) {
	s, _ := migrated(b)
	s.cfg.BatchAge = DefaultConfig().BatchAge
	p := processorOf(b, opener(s), "topic", 0)
	const fetch, window = 1000, 200
	batches := make([][]stream.Record, window)
	for i := range batches {
		for j := range fetch {
			batches[i] = append(batches[i], record(int64(i*fetch+j)))
		}
	}
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		if err := p.Process(b.Context(), batches[rows/fetch%window]); err != nil {
			b.Fatal(err)
		}
		rows += fetch
	}
	if err := p.Checkpoint(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	if err := s.Ready(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkEvents(b *testing.B) {
	benchmarkStore(b, func(s *Store) stream.Opener { return s.OpenEvents }, func(i int64) stream.Record {
		return eventRecord(b, i, fmt.Sprint("agent", i%500), now)
	})
}

func BenchmarkFindings(b *testing.B) {
	benchmarkStore(b, func(s *Store) stream.Opener { return s.OpenFindings }, func(i int64) stream.Record {
		return jsonRecord(b, "findings", i, "a", findingOf(fmt.Sprint("f", i), fmt.Sprint("agent", i%500), detect.High, now))
	})
}

func BenchmarkDecodeEvent(b *testing.B) {
	var d eventDecoder
	r := eventRecord(b, 1, "agent", now)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := d.decode(&r); err != nil {
			b.Fatal(err)
		}
	}
}
