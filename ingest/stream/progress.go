package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	noteInterval = 200 * time.Millisecond
	notePause    = 10 * time.Second // after a note that failed
	noteTimeout  = time.Second
)

// progressOf names the group without members whose offsets say how far a group has
// processed. They are of no use to begin at: what was processed may not be durable.
func progressOf(group string) string { return group + "-progress" }

// note writes down a few times a second how far the partition is processed, if others
// want to know. It is no part of the work: a note that fails is left out for a while.
func (o *owner) note(ctx context.Context, next int64) {
	if !o.notes || next <= o.noted || time.Now().Before(o.noteAt) {
		return
	}
	soon, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	res, err := o.c.kafka.OffsetCommit(soon, &kafka.OffsetCommitRequest{GroupID: progressOf(o.group), GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{o.topic: {{Partition: o.partition, Offset: next}}}})
	if err == nil {
		for _, p := range res.Topics[o.topic] {
			err = p.Error
		}
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		o.noteAt = time.Now().Add(notePause)
		o.log.Warn("progress cannot be noted; who waits for it waits for the checkpoint", "err", err, "retry_in", notePause)
		return
	}
	o.noted, o.noteAt = next, time.Now().Add(noteInterval)
}

// Progress tells for each partition of a topic the offset up to which a group has
// processed it, as far as is known: negative where nothing is. What the records
// before it led to is with Kafka; it need not be durable as the processor's own state.
func (c *Client) Progress(ctx context.Context, group, topic string) ([]int64, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	far, all := make([]int64, n), make([]int, n)
	for p := range all {
		far[p], all[p] = -1, p
	}
	for _, g := range []string{group, progressOf(group)} {
		err := c.retry(ctx, "find the progress of "+group, func(ctx context.Context) error {
			res, err := c.kafka.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: g, Topics: map[string][]int{topic: all}})
			if err == nil {
				err = res.Error
			}
			if errors.Is(err, kafka.GroupIdNotFound) {
				return nil // it has written nothing down yet
			}
			if err != nil {
				return c.cause(ctx, err)
			}
			c.health.answer()
			for _, p := range res.Topics[topic] {
				if p.Error != nil {
					return c.cause(ctx, fmt.Errorf("partition %d: %w", p.Partition, p.Error))
				}
				far[p.Partition] = max(far[p.Partition], p.CommittedOffset)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return far, nil
}
