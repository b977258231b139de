package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// patience is for how long nobody needs to hear that a consumer is not there
// yet: who starts together with triage is often first.
const patience = 3 * time.Second

// Bind waits for a durable consumer that [Provision] makes, until ctx ends. It
// logs what it waits for, once for each reason; that there is no server is left
// to the connection to tell.
func Bind(ctx context.Context, js jetstream.JetStream, stream, consumer string, log *slog.Logger) (jetstream.Consumer, error) {
	begun, told := time.Now(), ""
	for try := 0; ; try++ {
		c, err := js.Consumer(ctx, stream, consumer)
		if err == nil {
			return c, nil
		}
		if why := err.Error(); why != told && Down(js.Conn()) == nil && ctx.Err() == nil && time.Since(begun) > patience {
			told = why
			if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
				log.Info("waiting for triage to make a consumer", "stream", stream, "consumer", consumer)
			} else {
				log.Warn("consumer not reached, trying on", "stream", stream, "consumer", consumer, "err", err)
			}
		}
		if pause(ctx, min(2*time.Second, 100*time.Millisecond<<min(try, 5))) != nil {
			return nil, fmt.Errorf("bind to consumer %s of %s: %w", consumer, stream, errors.Join(ctx.Err(), err))
		}
	}
}
