package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/cmd/internal/input"
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
// topic, each as a record. It returns when all are acknowledged, when ctx ends,
// or when no broker answers for longer than patience, which may be 0 for no
// limit. A last line without a newline counts. Lines of one agent keep their order.
func Ship(ctx context.Context, cfg Config, log *slog.Logger, r io.Reader, name string, patience time.Duration) (sent Shipped, err error) {
	cfg.Kafka.ProduceMaxBytes = maxRecord
	client, err := stream.Open(cfg.Kafka, prometheus.NewRegistry(), log)
	if err != nil {
		return sent, err
	}
	defer client.Close()
	s := shipment{topic: cfg.Topics.Raw[0], log: log, name: name, patience: patience, kafka: cfg.Kafka}
	err = s.patiently(ctx, func(ctx context.Context) error {
		if err := client.EnsureTopics(ctx, cfg.Topics.All()...); err != nil {
			return err
		}
		s.out, err = client.NewProducer(ctx)
		return err
	})
	if err != nil {
		return sent, err
	}
	ir, done := interruptible(ctx, r)
	defer done()
	in, err := input.Plain(ir)
	if err != nil {
		return sent, err
	}
	err = s.lines(ctx, in)
	return s.sent, err
}

// interruptible makes reads from r end with ctx: one from a terminal or a pipe
// may wait for ever. Such a read is left behind. Done must be called at the end.
func interruptible(ctx context.Context, r io.Reader) (_ io.Reader, done func()) {
	out, in := io.Pipe() // closing either end always succeeds
	stop := context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.CopyBuffer(in, r, make([]byte, 256<<10))
		in.CloseWithError(err)
	}()
	return out, func() {
		stop()
		out.CloseWithError(context.Canceled) // the copying ends
	}
}

// sink is where a shipment goes: a [stream.Producer].
type sink interface {
	Append(topic string, partition int, key, value []byte, headers ...stream.Header)
	Flush(ctx context.Context) error
}

type shipment struct {
	topic string
	out   sink
	log   *slog.Logger
	name  string

	patience time.Duration
	kafka    stream.Config

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
			return errors.Join(fmt.Errorf("after line %d: %w", s.line, input.Explain(err)), s.flush(ctx))
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
	if err := s.patiently(ctx, s.out.Flush); err != nil {
		return err
	}
	s.sent.Lines += s.pending.Lines
	s.sent.Bytes += s.pending.Bytes
	s.pending = Shipped{}
	return nil
}

// patiently does what takes an answer of the brokers, but does not wait for it for ever.
func (s *shipment) patiently(ctx context.Context, do func(context.Context) error) error {
	return Patiently(ctx, s.kafka, s.patience, do)
}

// Patiently does what takes an answer of the brokers of cfg, and gives up after
// patience, which may be 0 for never.
func Patiently(ctx context.Context, cfg stream.Config, patience time.Duration, do func(context.Context) error) error {
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer of %s (kafka.brokers) within %s; is it running?", strings.Join(cfg.Brokers, ", "), patience))
		defer cancel()
	}
	return do(ctx)
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
