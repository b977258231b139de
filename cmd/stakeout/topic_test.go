package main_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// consumer makes a Kafka client that shares nothing with ours.
func consumer(t testing.TB, broker string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(broker))...)
	check(t, err)
	t.Cleanup(c.Close)
	return c
}

// records reads all that a topic holds now.
func records(t testing.TB, broker, topic string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	end := ends(ctx, t, broker, topic)
	c := consumer(t, broker, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var all []*kgo.Record
	for missing := len(end); missing > 0; {
		missing = 0
		fetches := c.PollFetches(ctx)
		check(t, fetches.Err())
		all = append(all, fetches.Records()...)
		// A compacted log ends before its end offset, but its last record is never removed.
		reached := map[int32]int64{}
		for _, r := range all {
			reached[r.Partition] = max(reached[r.Partition], r.Offset+1)
		}
		for p, n := range end {
			if reached[p] < n {
				missing++
			}
		}
	}
	return all
}

// ends lists the end offsets of the partitions that hold anything.
func ends(ctx context.Context, t testing.TB, broker, topic string) map[int32]int64 {
	t.Helper()
	c := consumer(t, broker)
	meta := kmsg.NewMetadataRequest()
	mt := kmsg.NewMetadataRequestTopic()
	mt.Topic = kmsg.StringPtr(topic)
	meta.Topics = append(meta.Topics, mt)
	found, err := meta.RequestWith(ctx, c)
	check(t, err)
	req := kmsg.NewListOffsetsRequest()
	req.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	for _, p := range found.Topics[0].Partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p.Partition, -1 // the end
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	res, err := req.RequestWith(ctx, c)
	check(t, err)
	end := map[int32]int64{}
	for _, p := range res.Topics[0].Partitions {
		if p.ErrorCode != 0 {
			t.Fatalf("offsets of %s/%d: error %d", topic, p.Partition, p.ErrorCode)
		}
		if p.Offset > 0 {
			end[p.Partition] = p.Offset
		}
	}
	return end
}

// behind is how many records of a topic a group has not committed.
func behind(t testing.TB, broker, group, topic string) (n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	end := ends(ctx, t, broker, topic)
	req := kmsg.NewOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	gt := kmsg.NewOffsetFetchRequestGroupTopic()
	gt.Topic = topic
	for p := range end {
		gt.Partitions = append(gt.Partitions, p)
	}
	g.Topics = append(g.Topics, gt)
	req.Groups = append(req.Groups, g)
	res, err := req.RequestWith(ctx, consumer(t, broker))
	check(t, err)
	for _, p := range res.Groups[0].Topics[0].Partitions {
		n += end[p.Partition] - max(p.Offset, 0)
	}
	return n
}

// setting is a topic's configuration as the broker tells it.
func setting(t testing.TB, broker, topic, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req := kmsg.NewDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{name}
	req.Resources = append(req.Resources, r)
	res, err := req.RequestWith(ctx, consumer(t, broker))
	check(t, err)
	for _, c := range res.Resources[0].Configs {
		if c.Name == name && c.Value != nil {
			return *c.Value
		}
	}
	return ""
}
