package app

import (
	"context"
	"fmt"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage"
)

// OperationHeader is the key of the Kafka header that makes a record of the
// events topic a decision about a baseline. Shippers cannot set it: ingest gives
// every event headers of its own.
const OperationHeader = "operation"

func operation(op detect.Operation) stream.Header {
	return stream.Header{Key: OperationHeader, Value: []byte(op)}
}

// operate puts a decision about the baseline of an agent between its events.
func (p *process) operate(ctx context.Context, op triage.Operation) error {
	ev := event.Event{Time: event.At(time.Now()), Name: event.ConfigChange, Agent: op.Agent, Tenant: op.Tenant, ID: op.ID}
	out, err := p.client.NewProducer(ctx)
	if err != nil {
		return err
	}
	out.Append(p.cfg.Topics.Events, -1, []byte(op.Agent), ev.AppendJSON(nil), operation(op.Verb))
	if err := out.Flush(ctx); err != nil {
		return fmt.Errorf("send operation %s: %w", op.Verb, err)
	}
	return nil
}
