package stream

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// testCompacted reads a topic whose records, down to the last, were compacted away.
func testCompacted(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, map[string]string{
		"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.001", "segment.ms": "100", "delete.retention.ms": "0",
	})
	p := testProducer(t, c)
	for i := range 1000 {
		p.Append(topic, 0, fmt.Append(nil, "k", i%10), fmt.Append(nil, i))
		if i%10 == 9 {
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 10 { // the tail: tombstones, which vanish with what they delete
		p.Append(topic, 0, fmt.Append(nil, "k", i), nil)
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	ranges, err := c.Offsets(testContext(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	end := ranges[0].Next
	n := 0
	eventually(t, "the topic is compacted", func() bool {
		n = 0
		next, err := c.ReadPartition(testContext(t), topic, 0, -1, func(*Record) error { n++; return nil })
		if next < end || err != nil {
			t.Fatalf("ReadPartition = %d, %v, want %d", next, err, end)
		}
		if n <= 20 {
			return true
		}
		// Only closed segments are compacted, and a record closes one.
		p.Append(topic, 0, []byte("again"), []byte("x"))
		if err := p.Flush(testContext(t)); err != nil {
			t.Fatal(err)
		}
		return false
	})
	t.Logf("%d records are left before offset %d", n, end)
}

func testAbortedTransaction(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, nil)
	k := kgoClient(t, b.Addr(), kgo.TransactionalID("txn-"+topic), kgo.DefaultProduceTopic(topic))
	var want []string
	for i := range 6 {
		if err := k.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		v := fmt.Sprint("transaction ", i)
		if err := k.ProduceSync(testContext(t), kgo.StringRecord(v), kgo.StringRecord(v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		end := kgo.TryAbort
		if i%3 == 0 {
			end, want = kgo.TryCommit, append(want, v, v)
		}
		if err := k.EndTransaction(testContext(t), end); err != nil {
			t.Fatal(err)
		}
	}
	l := newLedger()
	stop := running(t, c, topic, l)
	eventually(t, "the markers at the end are passed", func() bool { return commits(t, c, topic, 1)[0] == 18 })
	if diff := cmp.Diff(want, values(t, c, topic, 0)); diff != "" {
		t.Errorf("ReadPartition (-want +got):\n%s", diff)
	}
	stop()
	l.check(t)
	if diff := cmp.Diff(want, l.values[0]); diff != "" {
		t.Errorf("Run (-want +got):\n%s", diff)
	}
}

// testOpenTransaction reads to the end that can be read.
func testOpenTransaction(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, nil)
	p := testProducer(t, c)
	produceNumbers(t, p, topic, 1, 0, 3)
	k := kgoClient(t, b.Addr(), kgo.TransactionalID("txn-"+topic), kgo.DefaultProduceTopic(topic))
	if err := k.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := k.ProduceSync(testContext(t), kgo.StringRecord("open")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	produceNumbers(t, p, topic, 1, 3, 6)
	if diff := cmp.Diff([]string{"0", "1", "2"}, values(t, c, topic, 0)); diff != "" {
		t.Errorf("while open (-want +got):\n%s", diff)
	}
	if err := k.EndTransaction(testContext(t), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the abort is seen", func() bool { return len(values(t, c, topic, 0)) > 3 })
	if diff := cmp.Diff(numbers(0, 1, 6), values(t, c, topic, 0)); diff != "" {
		t.Errorf("after the abort (-want +got):\n%s", diff)
	}
}

// testRetention falls behind what the broker keeps.
func testRetention(t *testing.T, b testBroker) {
	const n, deleted = 1000, 300
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, nil)
	p := testProducer(t, c)
	produceNumbers(t, p, topic, 1, 0, 100)
	l := newLedger()
	stop := running(t, c, topic, l)
	eventually(t, "the first are processed", func() bool { return l.count() == 100 })
	stop()
	produceNumbers(t, p, topic, 1, 100, n)
	deleteRecords(t, b.Addr(), topic, deleted)
	stop = running(t, c, topic, l)
	eventually(t, "the rest is processed", func() bool { return l.count() == 100+n-deleted })
	stop()
	l.check(t)
	if diff := cmp.Diff(append(numbers(0, 1, 100), numbers(0, 1, n)[deleted:]...), l.values[0]); diff != "" {
		t.Errorf("processed (-want +got):\n%.500s", diff)
	}
	if got := testutil.ToFloat64(c.metrics.skipped.WithLabelValues(topic, "retention")); got != deleted-100 {
		t.Errorf("skipped_total = %v, want %d", got, deleted-100)
	}
}

// testNewPartitions adds a partition while a group consumes.
func testNewPartitions(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, nil)
	l := newLedger()
	stop := running(t, c, topic, l)
	produceNumbers(t, testProducer(t, c), topic, 1, 0, 10)
	eventually(t, "the first partition is processed", func() bool { return l.count() == 10 })
	res, err := c.kafka.CreatePartitions(testContext(t), &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 2}},
	})
	if err = errors.Join(err, res.Errors[topic]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are owned", func() bool { return l.owned() == 2 })
	p := testProducer(t, c)
	eventually(t, "the producer sees both", func() bool {
		n, err := c.Partitions(testContext(t), topic)
		return n == 2 && err == nil
	})
	p.Append(topic, 1, nil, []byte("new"))
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second partition is processed", func() bool { return l.count() == 11 })
	stop()
	l.check(t)
}
