package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/ingest"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// A tray takes what a partition writes, and fails to flush it where it should.
type tray struct {
	keep    bool
	events  []string
	times   []time.Time
	sources []event.Source // of the events
	rejects []ingest.Reject
	largest int // bytes appended between two flushes
	held    int
	err     error
}

func (s *tray) AppendAt(at time.Time, topic string, _ int, key, value []byte, headers ...stream.Header) {
	s.held += len(key) + len(value)
	s.largest = max(s.largest, s.held)
	if !s.keep {
		return
	}
	s.times = append(s.times, at)
	if topic == ingest.DefaultConfig().Events {
		var src event.Source
		if err := src.Parse(headers[0].Value); err != nil {
			panic(err)
		}
		s.events, s.sources = append(s.events, string(value)), append(s.sources, src)
		return
	}
	var no ingest.Reject
	if err := json.Unmarshal(value, &no); err != nil {
		panic(err)
	}
	s.rejects = append(s.rejects, no)
}

func (s *tray) Flush(context.Context) error {
	s.held = 0
	return s.err
}

func onto(out *tray, now time.Time) (stream.Processor, *prometheus.Registry) {
	reg := prometheus.NewRegistry()
	in := ingest.New(ingest.DefaultConfig(), nil, reg, slog.New(slog.DiscardHandler))
	in.SetNow(func() time.Time { return now })
	return in.Partition(out, stream.Owned{Topic: "raw"}), reg
}

func TestNothingCountsUntilItIsWritten(t *testing.T) {
	out := &tray{err: errors.New("no broker")}
	p, reg := onto(out, noon)
	err := p.Process(t.Context(), []stream.Record{{Topic: "raw", Time: noon, Value: []byte(call("a", ""))}})
	if !errors.Is(err, out.err) {
		t.Errorf("Process = %v, want %v", err, out.err)
	}
	if n := metric(t, reg, "stakeout_ingest_events_total"); n != 0 {
		t.Errorf("%v events counted, want none", n)
	}
}

// The clock is the record's own, unless that cannot be the time of ingest.
func TestClock(t *testing.T) {
	f := func(at, want time.Time) {
		t.Helper()
		out := &tray{keep: true}
		p, _ := onto(out, noon)
		line := `{"time":"2100-01-01T00:00:00Z","event.name":"heartbeat","gen_ai.agent.id":"a","event.id":"1"}`
		if err := p.Process(t.Context(), []stream.Record{{Topic: "raw", Time: at, Value: []byte(line)}}); err != nil {
			t.Fatal(err)
		}
		stamp := `{"time":"` + want.Format(time.RFC3339Nano) + `"`
		if !out.times[0].Equal(want) || !strings.HasPrefix(out.events[0], stamp) {
			t.Errorf("a record of %s is ingested at %s as %s; want %s", at, out.times[0], out.events[0], want)
		}
	}
	f(noon, noon)
	f(noon.AddDate(-1, 0, 0), noon.AddDate(-1, 0, 0))
	f(noon.Add(event.MaxAhead), noon.Add(event.MaxAhead))
	f(noon.Add(event.MaxAhead+1), noon)
	f(time.UnixMilli(-1), noon)
	f(time.Time{}, noon)
}

// TestAClockAheadIsTold sends an event of a clock that is ahead and one of a clock that is right.
func TestAClockAheadIsTold(t *testing.T) {
	out := &tray{keep: true}
	p, _ := onto(out, noon)
	const ahead = 20*time.Minute + 1 // told to the nanosecond
	for _, ahead := range []time.Duration{ahead, 0} {
		line := fmt.Sprintf(`{"time":"%s","event.name":"heartbeat","gen_ai.agent.id":"a"}`, noon.Add(ahead).Format(time.RFC3339Nano))
		if err := p.Process(t.Context(), []stream.Record{{Topic: "raw", Time: noon, Value: []byte(line)}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(out.sources) != 2 || out.sources[0].Ahead != ahead || out.sources[1].Ahead != 0 {
		t.Errorf("the sources %+v tell of clocks ahead, want %s of the first and none of the second", out.sources, ahead)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	out := &tray{}
	p, _ := onto(out, noon)
	value := []byte(strings.Repeat(call("a", `,"stakeout.chain":["`+strings.Repeat("c", 1000)+`"]`)+"\n", 800))
	var batch []stream.Record
	for i := range 50 {
		batch = append(batch, stream.Record{Topic: "raw", Offset: int64(i), Time: noon, Value: value})
	}
	if err := p.Process(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if out.largest > 6<<20 {
		t.Errorf("%d bytes were held at once, want 4 MiB and a record", out.largest)
	}
}

// Every line of a record, whatever it is, is an event, a reject or empty.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(call("a", "") + "\n\n{}\nnot JSON\r\n" + call("b", `,"stakeout.seq":"7"`)))
	f.Add([]byte("{\n\"time\":1\n}"))
	f.Add([]byte("\x00\n{\x00}\n"))
	f.Fuzz(func(t *testing.T, value []byte) {
		out := &tray{keep: true}
		p, reg := onto(out, noon)
		if err := p.Process(t.Context(), []stream.Record{{Topic: "raw", Offset: 7, Time: noon, Value: bytes.Clone(value)}}); err != nil {
			t.Fatal(err)
		}
		count := func(name string) int { return int(metric(t, reg, "stakeout_ingest_"+name+"_total")) }
		events, rejects, empty := count("events"), count("rejects"), count("empty_lines")
		lines := 1 + bytes.Count(bytes.TrimRight(value, " \t\r\n"), []byte("\n"))
		if n := events + rejects + empty; n != lines && n != 1 {
			t.Errorf("%q: %d events, %d rejects and %d empty, want %d together, or 1 for the whole", value, events, rejects, empty, lines)
		}
		if n := count("panics"); n != 0 {
			t.Errorf("%q: %d panics: %v", value, n, out.rejects)
		}
		if len(out.events) != events || len(out.rejects) > min(rejects, 101) {
			t.Errorf("%q: %d events and %d rejects were written, %d and %d counted", value, len(out.events), len(out.rejects), events, rejects)
		}
		for _, e := range out.events {
			var ev event.Event
			if err := ev.UnmarshalJSON([]byte(e)); err != nil || ev.ID == "" {
				t.Errorf("%q became %s: %v", value, e, err)
			}
		}
	})
}

func BenchmarkProcess(b *testing.B) {
	corpus, err := os.ReadFile("event/testdata/events.jsonl")
	if err != nil {
		b.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(corpus), []byte("\n"))
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("lines=%d", n), func(b *testing.B) {
			var batch []stream.Record
			for i := range 1000 {
				var value []byte
				for j := range n {
					value = append(append(value, lines[(i*n+j)%len(lines)]...), '\n')
				}
				batch = append(batch, stream.Record{Topic: "stakeout.raw", Offset: int64(i), Time: noon, Value: value})
			}
			p, _ := onto(&tray{}, noon)
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Process(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*1000*n), "ns/event")
		})
	}
}
