package local

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func startKafkaIn(t *testing.T, dir string) *Kafka {
	t.Helper()
	cfg := DefaultKafkaConfig()
	cfg.Dir, cfg.Listen = dir, "127.0.0.1:0"
	k, err := StartKafka(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

func producer(t *testing.T, k *Kafka, topic string) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Addr()), kgo.DefaultProduceTopic(topic), kgo.ProduceRequestTimeout(100*time.Millisecond), kgo.RequestTimeoutOverhead(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// TestKafkaStopsAtAFailedWrite has the disk be full for one log. An idempotent
// producer sends the batch again and again; it must never hear that it is stored.
func TestKafkaStopsAtAFailedWrite(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); errors.Is(err, os.ErrNotExist) && os.Getenv("CI") == "" {
		t.Skip("the system has no " + full)
	} else if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	k := startKafkaIn(t, dir)
	client := producer(t, k, "topic")
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "topic", 1, 1
	create.Topics = append(create.Topics, topic)
	if _, err := create.RequestWith(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "partitions", "topic-0", "0.dat")
	if err := os.MkdirAll(filepath.Dir(log), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(full, log); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	client.Produce(t.Context(), &kgo.Record{Value: []byte("lost?")}, func(_ *kgo.Record, err error) { answer <- err })
	select {
	case err := <-k.Failed():
		if !errors.Is(err, ErrCannotWrite) {
			t.Errorf("it says %v, want %v", err, ErrCannotWrite)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not say that it failed")
	}
	select {
	case err := <-answer:
		t.Errorf("the producer hears %v, want nothing", err)
	case <-time.After(time.Second): // it gives the broker up, connects anew, and tries again
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	client.Close()

	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	again := producer(t, startKafkaIn(t, dir), "topic")
	if err := again.ProduceSync(t.Context(), &kgo.Record{Value: []byte("stored")}).FirstErr(); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// TestRepairIndexes holds the size of an entry against what the broker writes.
func TestRepairIndexes(t *testing.T) {
	dir := t.TempDir()
	k := startKafkaIn(t, dir)
	client := producer(t, k, "topic")
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "topic", 1, 1
	create.Topics = append(create.Topics, topic)
	if _, err := create.RequestWith(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	const batches = 3
	for range batches {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte("value")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	index := filepath.Join(dir, "partitions", "topic-0", "0.idx")
	size := func() int64 {
		info, err := os.Stat(index)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if got := size(); got != batches*indexEntry {
		t.Fatalf("the index of %d batches has %d bytes, want %d", batches, got, batches*indexEntry)
	}
	f, err := os.OpenFile(index, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, indexEntry-1)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), repairIndexes(dir)); err != nil {
		t.Fatal(err)
	}
	if got := size(); got != batches*indexEntry {
		t.Errorf("after the repair it has %d bytes, want %d", got, batches*indexEntry)
	}
}
