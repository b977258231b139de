package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// EnsureTopics makes the topics that are missing and waits until every
// partition of every topic has a leader. It does not change a topic that is
// there, and logs when that has another number of partitions or other settings.
//
// A compacted topic keeps its records for ever unless its settings say otherwise.
func (c *Client) EnsureTopics(ctx context.Context, topics ...Topic) error {
	var there []Topic
	err := c.retry(ctx, "ensure topics", func(ctx context.Context) error {
		var missing []kafka.TopicConfig
		there = there[:0]
		for _, t := range topics {
			n, err := c.leaders(ctx, t.Name)
			if errors.Is(err, kafka.UnknownTopicOrPartition) {
				missing = append(missing, c.topicConfig(t))
				continue
			}
			if err != nil {
				return err
			}
			there = append(there, t)
			if n != t.Partitions {
				c.log.Warn("topic has another number of partitions than configured", "topic", t.Name, "partitions", n, "configured", t.Partitions)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		// The transport learns of the new topics before CreateTopics returns.
		res, err := c.kafka.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: missing})
		if err != nil {
			return c.cause(ctx, err)
		}
		for topic, err := range res.Errors {
			if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
				return fmt.Errorf("topic %s: %w", topic, err)
			}
		}
		for _, t := range missing {
			if _, err := c.leaders(ctx, t.Topic); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.compareSettings(ctx, there)
	return nil
}

func (c *Client) topicConfig(t Topic) kafka.TopicConfig {
	cfg := kafka.TopicConfig{Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: c.cfg.ReplicationFactor}
	for name, value := range t.Settings {
		cfg.ConfigEntries = append(cfg.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	policy := t.Settings["cleanup.policy"]
	if _, set := t.Settings["retention.ms"]; !set && strings.TrimSpace(policy) == "compact" {
		cfg.ConfigEntries = append(cfg.ConfigEntries, kafka.ConfigEntry{ConfigName: "retention.ms", ConfigValue: "-1"})
	}
	return cfg
}

// Partitions is the number of partitions of a topic. It waits for a topic
// that does not exist until ctx ends.
func (c *Client) Partitions(ctx context.Context, topic string) (n int, err error) {
	err = c.retry(ctx, "find partitions of "+topic, func(ctx context.Context) error {
		n, err = c.leaders(ctx, topic)
		return err
	})
	return n, err
}

// leaders counts a topic's partitions once each has a leader.
func (c *Client) leaders(ctx context.Context, topic string) (int, error) {
	// Metadata comes from the transport's cache: it is no sign of life.
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	m, err := c.transport.RoundTrip(ctx, c.addr, &metadata.Request{TopicNames: []string{topic}})
	if err != nil {
		return 0, c.cause(ctx, err)
	}
	c.health.meet()
	t := m.(*metadata.Response).Topics[0]
	if err := codeError(t.ErrorCode); err != nil {
		return 0, fmt.Errorf("topic %s: %w", topic, err)
	}
	for _, p := range t.Partitions {
		if p.LeaderID < 0 {
			return 0, fmt.Errorf("topic %s partition %d: %w", topic, p.PartitionIndex, kafka.LeaderNotAvailable)
		}
	}
	if len(t.Partitions) == 0 {
		return 0, fmt.Errorf("topic %s: %w", topic, kafka.UnknownTopicOrPartition)
	}
	return len(t.Partitions), nil
}

// Offsets tells what each partition of a topic holds, by partition. Records of
// a transaction that is still open are not counted.
func (c *Client) Offsets(ctx context.Context, topic string) ([]Range, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	ranges := make([]Range, n)
	all := make([]int, n)
	for p := range all {
		all[p] = p
	}
	err = c.offsets(ctx, topic, all, func(p int, r Range) { ranges[p] = r })
	return ranges, err
}

func (c *Client) offsets(ctx context.Context, topic string, partitions []int, found func(int, Range)) error {
	return c.retry(ctx, "list offsets of "+topic, func(ctx context.Context) error {
		var reqs []kafka.OffsetRequest
		for _, p := range partitions {
			reqs = append(reqs, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
		}
		res, err := c.kafka.ListOffsets(ctx, &kafka.ListOffsetsRequest{
			Topics:         map[string][]kafka.OffsetRequest{topic: reqs},
			IsolationLevel: kafka.ReadCommitted,
		})
		if err != nil {
			return c.cause(ctx, err)
		}
		c.health.answer()
		for _, p := range res.Topics[topic] {
			if p.Error != nil {
				return c.cause(ctx, fmt.Errorf("partition %d: %w", p.Partition, p.Error))
			}
			found(p.Partition, Range{First: p.FirstOffset, Next: p.LastOffset})
		}
		return nil
	})
}
