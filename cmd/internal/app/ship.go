package app

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// Shipped says what was sent.
type Shipped struct {
	Lines   int64   `json:"lines"` // acknowledged
	Bytes   int64   `json:"bytes"` // of these lines
	Refused int64   `json:"refused"`
	Seconds float64 `json:"seconds"`
}

const (
	maxRecord  = 4 << 20 // of the raw topic
	maxLine    = maxRecord - 64<<10
	shipBuffer = 4 << 20 // sent between two acknowledgements
)

// Ship sends the lines of r, which may be compressed with gzip, to the raw
// topic, each as a record. It returns when all are acknowledged. A last line
// without a newline counts. Lines of one agent keep their order.
func Ship(ctx context.Context, cfg Config, log *slog.Logger, r io.Reader, name string) (sent Shipped, err error) {
	cfg.Kafka.ProduceMaxBytes = maxRecord
	client, err := stream.Open(cfg.Kafka, prometheus.NewRegistry(), log)
	if err != nil {
		return sent, err
	}
	defer client.Close()
	if err := client.EnsureTopics(ctx, cfg.Topics.All()...); err != nil {
		return sent, err
	}
	out, err := client.NewProducer(ctx)
	if err != nil {
		return sent, err
	}
	in, err := plain(r)
	if err != nil {
		return sent, err
	}
	s := shipment{topic: cfg.Topics.Raw[0], out: out, log: log, name: name}
	err = s.lines(ctx, in)
	return s.sent, err
}

// plain undoes gzip where r is compressed.
func plain(r io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	if magic, err := in.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = bufio.NewReaderSize(z, 1<<20)
	}
	return in, nil
}

type shipment struct {
	topic   string
	out     *stream.Producer
	log     *slog.Logger
	name    string
	decoder event.Decoder
	event   event.Event

	sent    Shipped
	line    int64
	pending Shipped
}

func (s *shipment) lines(ctx context.Context, in *bufio.Reader) error {
	var buf []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(buf) <= maxLine {
			buf = append(buf, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(fmt.Errorf("after line %d: %w", s.line, err), s.flush(ctx))
		}
		if len(buf) > 0 {
			s.line++
			s.add(trim(buf))
		}
		buf = buf[:0]
		// What is read from a pipe is not kept waiting for more of it.
		if err != nil || s.pending.Bytes >= shipBuffer || in.Buffered() == 0 {
			if ferr := s.flush(ctx); ferr != nil || err != nil {
				return ferr
			}
		}
	}
}

// add takes a line. Its key is its agent, as far as that can be read, so that an
// agent's lines stay in order.
func (s *shipment) add(line []byte) {
	if len(line) > maxLine {
		s.log.Error("line too large to ship", "file", s.name, "line", s.line, "want", fmt.Sprintf("at most %d bytes", maxLine))
		s.sent.Refused++
		return
	}
	var key []byte
	if s.decoder.Decode(line, &s.event) == nil {
		key = []byte(s.event.Agent)
	}
	s.out.Append(s.topic, -1, key, line)
	s.pending.Lines++
	s.pending.Bytes += int64(len(line))
}

func (s *shipment) flush(ctx context.Context) error {
	if s.pending.Lines == 0 {
		return nil
	}
	if err := s.out.Flush(ctx); err != nil {
		return err
	}
	s.sent.Lines += s.pending.Lines
	s.sent.Bytes += s.pending.Bytes
	s.pending = Shipped{}
	return nil
}

// trim removes a line's end.
func trim(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	if n := len(b); n > 0 && b[n-1] == '\r' {
		b = b[:n-1]
	}
	return b
}
