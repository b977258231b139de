package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
)

// A line is what one agent's log shipper sends.
type line struct {
	agent, id string
	text      []byte
}

// history is a deterministic log of a fleet under attack. Some of it arrives
// late, out of order and twice.
func history(seed uint64, agents int, days float64) ([]line, error) {
	cfg := simulate.DefaultConfig()
	cfg.Agents, cfg.Days, cfg.Rate, cfg.Seed, cfg.Injections, cfg.Disorder = agents, days, 100, seed, 2, .05
	fleet, err := simulate.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	var lines []line
	for ev := range fleet.Events() {
		lines = append(lines, line{agent: ev.Agent, id: ev.ID, text: ev.AppendJSON(nil)})
	}
	return lines, nil
}

// A loader sends lines to the raw topic, evenly over a time, with a client that
// is not ours. A line counts when it is acknowledged by all replicas.
type loader struct {
	addr  string
	topic string
	lines []line
	over  time.Duration
	sent  int
}

const loadStep = 100 * time.Millisecond

func (l *loader) run(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(l.addr), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1),
		kgo.UnknownTopicRetries(-1), kgo.ProduceRequestTimeout(3*time.Second), kgo.RetryTimeout(time.Hour))
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer client.Close()
	step := max(1, len(l.lines)*int(loadStep)/int(max(l.over, loadStep)))
	start, tick := time.Now(), time.NewTicker(loadStep)
	defer tick.Stop()
	for l.sent < len(l.lines) {
		// What an outage held up is caught up with.
		due := int(float64(len(l.lines)) * min(1, float64(time.Since(start))/float64(l.over)))
		chunk := l.lines[l.sent:min(len(l.lines), max(l.sent+step, min(due, l.sent+20*step)))]
		// What is given up is sent again: a line may come twice, as from any shipper.
		for {
			var records []*kgo.Record
			for _, x := range chunk {
				records = append(records, &kgo.Record{Topic: l.topic, Key: []byte(x.agent), Value: x.text})
			}
			err := client.ProduceSync(ctx, records...).FirstErr()
			if err == nil {
				break
			}
			wait(ctx, loadStep)
			if ctx.Err() != nil {
				return errors.Join(ctx.Err(), err)
			}
		}
		l.sent += len(chunk)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// poison are lines that are no events, which must not hold up the others.
func poison() []line {
	return []line{
		{agent: "nobody", text: []byte("this is no JSON")},
		{agent: "nobody", text: []byte(`{"time":"2026-01-05T09:00:00Z","name":"tool.call","agent":""}`)},
	}
}
