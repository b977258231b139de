package local

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func startKafka(t *testing.T, cfg KafkaConfig) *Kafka {
	t.Helper()
	k, err := StartKafka(cfg, testLog(t))
	if err != nil {
		t.Fatalf("StartKafka: %v", err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return k
}

func testClient(t *testing.T, k *Kafka, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(k.Addr()), kgo.AllowAutoTopicCreation())...)
	if err != nil {
		t.Fatalf("NewClient: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

func freeConfig(dir string) KafkaConfig {
	cfg := DefaultKafkaConfig()
	cfg.Dir, cfg.Listen = dir, "127.0.0.1:0"
	return cfg
}

func TestKafkaConfigValidate(t *testing.T) {
	if err := DefaultKafkaConfig().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	f := func(want string, change func(*KafkaConfig)) {
		t.Helper()
		cfg := DefaultKafkaConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Validate() = %v, want prefix %q", err, want)
		}
	}
	f("listen: is \"9092\"", func(c *KafkaConfig) { c.Listen = "9092" })
	f("listen: is \"0.0.0.0:9092\", want a loopback", func(c *KafkaConfig) { c.Listen = "0.0.0.0:9092" })
	f("topic_bytes: is 0", func(c *KafkaConfig) { c.TopicBytes = 0 })
	f("clean_interval: is 0s", func(c *KafkaConfig) { c.CleanInterval = 0 })
}

func TestKafkaKeepsRecordsAcrossRestart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	k := startKafka(t, freeConfig(dir))
	c := testClient(t, k)
	createTopic(t, c, "t", 1, nil)
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("kept")}).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
	c.Close()
	if err := k.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}

	k = startKafka(t, freeConfig(dir))
	c = testClient(t, k, kgo.ConsumeTopics("t"))
	records := c.PollFetches(ctx).Records()
	if len(records) != 1 || string(records[0].Value) != "kept" {
		t.Errorf("after restart: %v, want one record \"kept\"", records)
	}
}

func TestKafkaFallsBackToFreePort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := freeConfig("")
	cfg.Listen = ln.Addr().String()
	k := startKafka(t, cfg)
	if k.Addr() == cfg.Listen {
		t.Errorf("Addr() = %s, which is taken", k.Addr())
	}
	if err := testClient(t, k).Ping(t.Context()); err != nil {
		t.Errorf("ping %s: %v", k.Addr(), err)
	}
}

func TestKafkaRefusesDirInUse(t *testing.T) {
	dir := t.TempDir()
	startKafka(t, freeConfig(dir))
	if k, err := StartKafka(freeConfig(dir), testLog(t)); err == nil {
		t.Errorf("second broker over %s started at %s", dir, k.Addr())
	} else if !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("error %q does not say that the directory is in use", err)
	}
}

func TestKafkaCapsRetention(t *testing.T) {
	cfg := freeConfig("")
	cfg.TopicBytes = 4 << 20
	c := testClient(t, startKafka(t, cfg))
	f := func(partitions int32, settings, want map[string]string) {
		t.Helper()
		topic := strings.ReplaceAll(t.Name(), "/", ".") + "." + time.Now().Format("150405.000000000")
		createTopic(t, c, topic, partitions, settings)
		got := topicSettings(t, c, topic, want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("settings of a topic made with %v (-want +got):\n%s", settings, diff)
		}
	}
	f(4, nil, map[string]string{"retention.bytes": "1048576"})
	f(1, map[string]string{"retention.bytes": "-1"}, map[string]string{"retention.bytes": "4194304"})
	f(1, map[string]string{"retention.bytes": "1000"}, map[string]string{"retention.bytes": "1000"})
	f(1, map[string]string{"cleanup.policy": "compact"}, map[string]string{"retention.bytes": "-1", "retention.ms": "-1"})
	f(1, map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "1000"},
		map[string]string{"retention.bytes": "4194304", "retention.ms": "1000"})
}

func TestKafkaCleanerRuns(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cfg := freeConfig("")
	cfg.TopicBytes, cfg.CleanInterval = 1<<20, 20*time.Millisecond
	k := startKafka(t, cfg)
	c := testClient(t, k, kgo.ProducerBatchCompression(kgo.NoCompression()))
	createTopic(t, c, "t", 1, nil)
	for range 8 {
		if err := c.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: make([]byte, 512<<10)}).FirstErr(); err != nil {
			t.Fatalf("produce: %v", err)
		}
	}
	for k.cluster.PartitionInfo("t", 0).LogStartOffset == 0 {
		select {
		case <-ctx.Done():
			t.Fatal("nothing was cut from 4 MiB under a cap of 1 MiB")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func createTopic(t *testing.T, c *kgo.Client, topic string, partitions int32, settings map[string]string) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, partitions, 1
	for k, v := range settings {
		cfg := kmsg.NewCreateTopicsRequestTopicConfig()
		cfg.Name, cfg.Value = k, &v
		rt.Configs = append(rt.Configs, cfg)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(t.Context(), c)
	if err != nil {
		t.Fatalf("create %s: %v", topic, err)
	}
	if code := resp.Topics[0].ErrorCode; code != 0 {
		t.Fatalf("create %s: code %d", topic, code)
	}
}

// topicSettings reads the settings that want has from the broker.
func topicSettings(t *testing.T, c *kgo.Client, topic string, want map[string]string) map[string]string {
	t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(t.Context(), c)
	if err != nil {
		t.Fatalf("describe %s: %v", topic, err)
	}
	got := map[string]string{}
	for _, cfg := range resp.Resources[0].Configs {
		if _, ok := want[cfg.Name]; ok && cfg.Value != nil {
			got[cfg.Name] = *cfg.Value
		}
	}
	return got
}
