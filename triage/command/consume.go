package command

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Consume hands the messages of a durable consumer to fn, one after another,
// until ctx ends. A message is acknowledged when fn returns nil; after an error
// it comes again a second later. The connection may fail meanwhile. At most
// ahead messages are fetched before it is their turn: 1 where each may take long.
func Consume(ctx context.Context, js jetstream.JetStream, stream, consumer string, ahead int, log *slog.Logger, fn func(context.Context, jetstream.Msg) error) {
	of := log.With("stream", stream, "consumer", consumer)
	for ctx.Err() == nil {
		c, err := Bind(ctx, js, stream, consumer, log)
		if err != nil {
			return
		}
		err = consume(ctx, c, ahead, of, fn)
		if ctx.Err() != nil {
			return
		}
		of.Warn("consumer interrupted", "err", err)
		if pause(ctx, time.Second) != nil {
			return
		}
	}
}

func consume(ctx context.Context, c jetstream.Consumer, ahead int, log *slog.Logger, fn func(context.Context, jetstream.Msg) error) error {
	msgs, err := c.Messages(jetstream.PullMaxMessages(ahead), jetstream.PullHeartbeat(5*time.Second))
	if err != nil {
		return err
	}
	defer msgs.Stop()
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if err := fn(ctx, m); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			log.Warn("message put back", "subject", m.Subject(), "err", err)
			if err := m.NakWithDelay(time.Second); err != nil {
				return err
			}
			continue
		}
		if err := m.Ack(); err != nil {
			return err
		}
	}
}
