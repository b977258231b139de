package stage

import (
	"context"
	"fmt"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// A Sender writes events to the raw topic, as a log shipper would. It is for one
// goroutine at a time.
type Sender struct {
	Sent  int64 // so far
	out   *stream.Producer
	topic string
	line  []byte
}

// NewSender makes a sender.
func (s *Stage) NewSender(ctx context.Context) (*Sender, error) {
	out, err := s.Client.NewProducer(ctx)
	return &Sender{out: out, topic: s.App.Topics.Raw[0]}, err
}

const sendBuffer = 1 << 20

// Send adds an event; it is sent with the next [Sender.Flush] at the latest.
func (s *Sender) Send(ctx context.Context, ev *event.Event) error {
	s.line = ev.AppendJSON(s.line[:0])
	s.out.Append(s.topic, -1, []byte(ev.Agent), s.line)
	s.Sent++
	if s.out.Buffered() > sendBuffer {
		return s.Flush(ctx)
	}
	return nil
}

// Flush returns when the broker has everything.
func (s *Sender) Flush(ctx context.Context) error {
	if err := s.out.Flush(ctx); err != nil {
		return fmt.Errorf("send events: %w", err)
	}
	return nil
}
