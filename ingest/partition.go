package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"
	"unsafe"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

const (
	// maxPending bounds what a partition holds before it is acknowledged.
	maxPending = 4 << 20

	// warnEvery is how often a partition logs at most that it refuses lines.
	warnEvery = time.Minute
)

// sink is where a partition writes to: a [stream.Producer].
type sink interface {
	AppendAt(at time.Time, topic string, partition int, key, value []byte, headers ...stream.Header)
	Flush(ctx context.Context) error
}

// A partition makes events of the records of one raw partition. Its buffers
// serve one line after another.
type partition struct {
	in  *Ingest
	out sink
	log *slog.Logger

	decoder event.Decoder
	ev      event.Event
	src     event.Source
	id      []byte // stands in for a missing event.id
	value   []byte
	header  [1]stream.Header

	now     time.Time // when the batch came
	pending int       // bytes appended and not yet acknowledged
	counts  counts
	refused *Reject   // the first since the last warning
	warned  time.Time // when
	since   int       // lines refused since then
}

func (in *Ingest) partition(out sink, owned stream.Owned) *partition {
	return &partition{
		in: in, out: out,
		log:    in.log.With("topic", owned.Topic, "partition", owned.Partition),
		header: [1]stream.Header{{Key: event.SourceHeader}},
		counts: counts{rejects: map[string]int{}},
	}
}

// Process implements [stream.Processor].
func (p *partition) Process(ctx context.Context, batch []stream.Record) error {
	p.now = p.in.now()
	for i := range batch {
		if err := p.record(&batch[i]); err != nil {
			return err
		}
		if p.pending >= maxPending {
			if err := p.Checkpoint(ctx); err != nil {
				return err
			}
		}
	}
	return p.Checkpoint(ctx)
}

// Checkpoint implements [stream.Processor].
func (p *partition) Checkpoint(ctx context.Context) error {
	for {
		err := p.out.Flush(ctx)
		if err == nil {
			break
		}
		dropped, only := tooLarge(err)
		if !only {
			return fmt.Errorf("write events and rejects: %w", err)
		}
		for _, d := range dropped {
			if err := p.dropped(d); err != nil {
				return err
			}
		}
	}
	p.pending = 0
	p.in.metrics.add(&p.counts)
	p.warn()
	return nil
}

// record takes a record, which holds one JSON object or one on each line.
func (p *partition) record(r *stream.Record) error {
	p.counts.records++
	at := p.clock(r.Time)
	p.src.Topic, p.src.Partition, p.src.Offset, p.src.Line = r.Topic, r.Partition, r.Offset, 0

	value := bytes.TrimRight(r.Value, space)
	if !lined(value) {
		no := p.line(at, value)
		return p.reject(no, at, value)
	}
	refused, rest := 0, 0
	for line := range bytes.SplitSeq(value, newline) {
		p.src.Line++
		no := p.line(at, line)
		if no == nil {
			continue
		}
		if refused++; refused > maxRejects {
			p.counts.rejects[no.Field]++
			rest += len(line)
			continue
		}
		if err := p.reject(no, at, line); err != nil {
			return err
		}
	}
	if refused > maxRejects {
		no := several(refused - maxRejects)
		p.src.Line = 0
		no.of(p.src, at, nil)
		no.Size, no.SHA256 = rest, ""
		return p.emit(no)
	}
	return nil
}

// line passes one line on as an event, or says why not. A panic is laid to the
// line: it is refused with the stack, and the partition goes on.
func (p *partition) line(at time.Time, line []byte) *Reject {
	if len(bytes.Trim(line, space)) == 0 {
		p.counts.empty++
		return nil
	}
	skew, no := p.read(at, line)
	if no != nil {
		return no
	}
	p.counts.events++
	p.counts.unknown += p.decoder.Unknown()
	if skew > 0 {
		p.counts.skew++
	}
	p.src.Ahead = skew
	key := unsafe.Slice(unsafe.StringData(p.ev.Agent), len(p.ev.Agent)) // Append copies it
	p.header[0].Value = p.src.AppendBinary(p.header[0].Value[:0])
	p.out.AppendAt(at, p.in.cfg.Events, -1, key, p.value, p.header[:]...)
	p.pending += len(key) + len(p.value) + len(p.header[0].Value)
	return nil
}

// read decodes a line into p.ev and writes it anew into p.value.
func (p *partition) read(at time.Time, line []byte) (skew time.Duration, no *Reject) {
	defer func() {
		if v := recover(); v != nil {
			p.counts.panics++
			p.decoder = event.Decoder{}
			no = panicked(v)
		}
	}()
	if err := p.in.decode(&p.decoder, line, &p.ev); err != nil {
		return 0, refusal(err)
	}
	skew, err := p.ev.Admit(at)
	if err != nil {
		return 0, refusal(err)
	}
	if p.ev.ID == "" {
		var numbered bool
		if p.id, numbered = p.ev.AppendIdentity(p.id[:0], line); !numbered {
			p.id = p.place(p.id[:0])
		}
		p.ev.ID = unsafe.String(unsafe.SliceData(p.id), len(p.id)) // good until the next line
	}
	p.value = p.ev.AppendJSON(p.value[:0])
	return skew, nil
}

// place appends where the line lies in Kafka, which is the id of an event that has no other.
func (p *partition) place(dst []byte) []byte {
	dst = append(append(dst, p.src.Topic...), '/')
	dst = append(strconv.AppendInt(dst, int64(p.src.Partition), 10), '/')
	dst = strconv.AppendInt(dst, p.src.Offset, 10)
	if p.src.Line > 0 {
		dst = strconv.AppendInt(append(dst, '/'), int64(p.src.Line), 10)
	}
	return dst
}

// reject writes no, where there is one, to the rejects topic.
func (p *partition) reject(no *Reject, at time.Time, line []byte) error {
	if no == nil {
		return nil
	}
	p.counts.rejects[no.Field]++
	no.of(p.src, at, line)
	return p.emit(no)
}

func (p *partition) emit(no *Reject) error {
	value, err := json.Marshal(no)
	if err != nil {
		return fmt.Errorf("encode the reject of offset %d: %w", no.Offset, err)
	}
	key := strconv.AppendInt(append([]byte(no.Topic), '/'), int64(no.Partition), 10)
	p.out.AppendAt(no.Time, p.in.cfg.Rejects, -1, key, value)
	p.pending += len(key) + len(value)
	p.since += max(no.Lines, 1)
	if p.refused == nil {
		p.refused = no
	}
	return nil
}

// warn logs that lines are refused, once in a while.
func (p *partition) warn() {
	if p.refused == nil || p.now.Sub(p.warned) < warnEvery {
		return
	}
	p.log.Warn("lines refused", "count", p.since, "offset", p.refused.Offset, "field", p.refused.Field, "reason", p.refused.Reason)
	p.refused, p.since, p.warned = nil, 0, p.now
}

// clock returns the ingest clock of a record: the time that Kafka gives it, so
// that a replay decides the same. Where Kafka has none, or the shipper set one
// that is as far ahead as no event may be, it is the clock of this machine.
func (p *partition) clock(at time.Time) time.Time {
	if at.Year() < 2000 || at.Sub(p.now) > event.MaxAhead {
		return p.now
	}
	return at
}
