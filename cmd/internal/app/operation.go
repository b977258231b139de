package app

import (
	"context"
	"fmt"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// OperationHeader is the key of the Kafka header that makes a record of the
// events topic a decision about a baseline. Shippers cannot set it: ingest gives
// every event headers of its own.
const OperationHeader = "operation"

func operation(op detect.Operation) stream.Header {
	return stream.Header{Key: OperationHeader, Value: []byte(op)}
}

// operate puts a decision about the baseline of an agent between its events.
func (p *process) operate(ctx context.Context, agent, id string, op detect.Operation) error {
	now := time.Now()
	ev := event.Event{Time: event.At(now), Name: event.ConfigChange, Agent: agent, ID: id}
	out, err := p.client.NewProducer(ctx)
	if err != nil {
		return err
	}
	out.Append(p.cfg.Topics.Events, -1, []byte(agent), ev.AppendJSON(nil), operation(op))
	if err := out.Flush(ctx); err != nil {
		return fmt.Errorf("send operation %s: %w", op, err)
	}
	return nil
}
