package local

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// A sender is an idempotent producer that may send anything again, to any broker.
type sender struct {
	producer int64
	epoch    int16
}

func newSender(t *testing.T, c *kgo.Client) sender {
	t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	res, err := req.RequestWith(t.Context(), c)
	if err == nil {
		err = kerr.ErrorForCode(res.ErrorCode)
	}
	if err != nil {
		t.Fatalf("InitProducerID: %v", err)
	}
	return sender{res.ProducerID, res.ProducerEpoch}
}

// batch is the bytes of a batch of values under the sequence numbers from first on.
func (s sender) batch(first int32, values ...string) []byte {
	b := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(len(values) - 1), FirstTimestamp: time.Now().UnixMilli(),
		MaxTimestamp: time.Now().UnixMilli(), ProducerID: s.producer, ProducerEpoch: s.epoch, FirstSequence: first, NumRecords: int32(len(values))}
	for i, v := range values {
		r := kmsg.Record{OffsetDelta: int32(i), Value: []byte(v)}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // a length of 0 takes one byte
		b.Records = r.AppendTo(b.Records)
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[batchLength:], uint32(len(raw)-batchStart))
	binary.BigEndian.PutUint32(raw[batchSum:], crc32.Checksum(raw[batchSummed:], castagnoli))
	return raw
}

// send sends such a batch.
func (s sender) send(t *testing.T, c *kgo.Client, first int32, values ...string) {
	t.Helper()
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = s.batch(first, values...)
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = "t", append(topic.Partitions, part)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis, req.Topics = -1, 5000, append(req.Topics, topic)
	res, err := req.RequestWith(t.Context(), c)
	if err == nil {
		err = kerr.ErrorForCode(res.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("Produce %v from %d on: %v", values, first, err)
	}
}

// killed starts a broker over what stands on the disk while k is running, as after a kill.
func killed(t *testing.T, k *Kafka, dir string, damage ...func(dir string)) (*Kafka, *kgo.Client) {
	t.Helper()
	left := filepath.Join(t.TempDir(), "left")
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, f := range damage {
		f(left)
	}
	return started(t, left)
}

func started(t *testing.T, dir string) (*Kafka, *kgo.Client) {
	t.Helper()
	k := startKafka(t, freeConfig(dir))
	return k, testClient(t, k, kgo.MaxVersions(kversion.V3_0_0())) // names topics by their names
}

// holds returns all values of the topic.
func holds(t *testing.T, k *Kafka, n int) (all []string) {
	t.Helper()
	c := testClient(t, k, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for len(all) < n {
		fetches := c.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			all = append(all, string(r.Value))
		}
	}
	return all
}

// TestKafkaKnowsAgainWhatWasSentBeforeAKill has a producer send a batch again to a broker that
// had taken it and was killed before it said so, and go on.
func TestKafkaKnowsAgainWhatWasSentBeforeAKill(t *testing.T) {
	tests := map[string]func(t *testing.T, dir string) (*Kafka, []string){
		"killed": func(t *testing.T, dir string) (*Kafka, []string) {
			k, c := started(t, dir)
			createTopic(t, c, "t", 1, nil)
			s := newSender(t, c)
			for i, v := range []string{"a", "b", "c", "d", "e", "f", "g"} {
				s.send(t, c, int32(i), v)
			}
			k, c = killed(t, k, dir)
			s.send(t, c, 3, "d") // the oldest of five
			s.send(t, c, 6, "g")
			s.send(t, c, 7, "h", "i")
			return k, []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"}
		},
		"stopped, then killed": func(t *testing.T, dir string) (*Kafka, []string) {
			k, c := started(t, dir)
			createTopic(t, c, "t", 1, nil)
			s := newSender(t, c)
			s.send(t, c, 0, "a", "b")
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			k, c = started(t, dir)
			s.send(t, c, 2, "c")
			k, c = killed(t, k, dir)
			s.send(t, c, 2, "c")
			s.send(t, c, 3, "d")
			return k, []string{"a", "b", "c", "d"}
		},
		"killed, and killed again": func(t *testing.T, dir string) (*Kafka, []string) {
			_, c := started(t, dir)
			createTopic(t, c, "t", 1, nil)
			s, other := newSender(t, c), newSender(t, c)
			s.send(t, c, 0, "a")
			other.send(t, c, 0, "b")
			second := filepath.Join(t.TempDir(), "second")
			if err := os.CopyFS(second, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			k, c := started(t, second)
			s.send(t, c, 1, "c")
			k, c = killed(t, k, second)
			other.send(t, c, 0, "b")
			s.send(t, c, 1, "c")
			other.send(t, c, 1, "d")
			return k, []string{"a", "b", "c", "d"}
		},
		"the last batch is torn": func(t *testing.T, dir string) (*Kafka, []string) {
			k, c := started(t, dir)
			createTopic(t, c, "t", 1, nil)
			s := newSender(t, c)
			s.send(t, c, 0, "a")
			s.send(t, c, 1, "b")
			k, c = killed(t, k, dir, func(dir string) {
				logs, err := filepath.Glob(filepath.Join(dir, "partitions", "t-0", "*.dat"))
				if err != nil || len(logs) != 1 {
					t.Fatalf("the log is %v (%v), want one file", logs, err)
				}
				info, err := os.Stat(logs[0])
				if err == nil {
					err = os.Truncate(logs[0], info.Size()-1)
				}
				if err != nil {
					t.Fatal(err)
				}
			})
			s.send(t, c, 1, "b") // what was lost is no repeat
			s.send(t, c, 2, "c")
			return k, []string{"a", "b", "c"}
		},
	}
	for name, run := range tests {
		t.Run(name, func(t *testing.T) {
			k, want := run(t, filepath.Join(t.TempDir(), "kafka"))
			end, c := newSender(t, testClient(t, k)), testClient(t, k, kgo.MaxVersions(kversion.V3_0_0()))
			end.send(t, c, 0, "end")
			if diff := cmp.Diff(append(slices.Clone(want), "end"), holds(t, k, len(want)+1)); diff != "" {
				t.Errorf("the log (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzBatches(f *testing.F) {
	s := sender{producer: 7}
	two := append(s.batch(0, "a"), s.batch(1, "b", "c")...)
	f.Add(two)
	f.Add(two[:len(two)-1])
	f.Fuzz(func(t *testing.T, raw []byte) {
		var w window
		batches(raw, func(b *kmsg.RecordBatch) { w.take(b) })
		if w.Count > remembered || w.At >= remembered {
			t.Errorf("%+v is no ring of %d", w, remembered)
		}
	})
}
