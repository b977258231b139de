package stream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// testCodecs writes and reads back with every codec, through all the shapes a
// record has.
func testCodecs(t *testing.T, b testBroker) {
	for _, codec := range []string{"none", "lz4", "zstd", "snappy"} {
		t.Run(codec, func(t *testing.T) {
			c := testClient(t, b.Addr(), func(cfg *Config) { cfg.Compression, cfg.ProduceMaxBytes = codec, 20_000 })
			topic := testTopic(t, c, 1, nil)
			at := time.UnixMilli(time.Now().UnixMilli())
			want := []Record{
				{Time: at, Key: []byte("k"), Value: []byte("v"), Headers: []Header{{"a", []byte("1")}, {"a", nil}, {"", []byte{}}}},
				{Time: at.Add(-time.Hour), Value: []byte{}},
				{Time: at.Add(time.Minute), Key: []byte{}, Value: nil},
			}
			for i := range 1000 {
				want = append(want, Record{Time: at, Key: fmt.Appendf(nil, "%d", i), Value: []byte(strings.Repeat("x", i))})
			}
			p := testProducer(t, c)
			for i := range want {
				r := &want[i]
				p.AppendAt(r.Time, topic, 0, r.Key, r.Value, r.Headers...)
				r.Topic, r.Offset = topic, int64(i)
				if i == 500 {
					if err := p.Flush(testContext(t)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if n := p.Buffered(); n != 0 {
				t.Errorf("Buffered after Flush = %d", n)
			}
			var got []Record
			next, err := c.ReadPartition(testContext(t), topic, 0, -1, func(r *Record) error {
				got = append(got, clone(*r))
				return nil
			})
			if next != int64(len(want)) || err != nil {
				t.Errorf("ReadPartition = %d, %v, want %d", next, err, len(want))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("read back (-want +got):\n%.2000s", diff)
			}
			// From the middle of a batch, and from the end.
			n := 0
			count := func(*Record) error { n++; return nil }
			if next, err := c.ReadPartition(testContext(t), topic, 0, 700, count); n != len(want)-700 || int(next) != len(want) || err != nil {
				t.Errorf("from 700: %d records, next %d, %v", n, next, err)
			}
			if next, err := c.ReadPartition(testContext(t), topic, 0, next, count); n != len(want)-700 || int(next) != len(want) || err != nil {
				t.Errorf("from the end: next %d, %v", next, err)
			}
			stop := errors.New("stop")
			if next, err := c.ReadPartition(testContext(t), topic, 0, 10, func(*Record) error { return stop }); err != stop || next != 10 {
				t.Errorf("with an error of its function: next %d, %v, want 10, %v", next, err, stop)
			}
		})
	}
}

func clone(r Record) Record {
	same := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		return append([]byte{}, b...)
	}
	r.Key, r.Value = same(r.Key), same(r.Value)
	r.Headers = append([]Header(nil), r.Headers...)
	for i := range r.Headers {
		r.Headers[i].Value = same(r.Headers[i].Value)
	}
	return r
}

// testReadsOthers reads what another client wrote, in every codec there is.
func testReadsOthers(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, nil)
	var want []string
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		k := kgoClient(t, b.Addr(), kgo.ProducerBatchCompression(codec))
		var records []*kgo.Record
		for i := range 500 {
			v := fmt.Sprintf("%s %d %s", name, i, strings.Repeat("y", 100))
			want = append(want, v)
			records = append(records, &kgo.Record{Topic: topic, Value: []byte(v)})
		}
		if err := k.ProduceSync(testContext(t), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	// kafka-go writes snappy in Java's chain of blocks.
	w := kafka.Writer{Addr: kafka.TCP(b.Addr()), Topic: topic, Compression: kafka.Snappy, Transport: c.transport}
	if err := w.WriteMessages(testContext(t), kafka.Message{Value: []byte("chained")}); err != nil {
		t.Fatal(err)
	}
	want = append(want, "chained")
	if diff := cmp.Diff(want, values(t, c, topic, 0)); diff != "" {
		t.Errorf("read (-want +got):\n%.2000s", diff)
	}
}

// testOthersReadUs has another client read what we wrote and agree on the
// partition of every key.
func testOthersReadUs(t *testing.T, b testBroker) {
	const n = 1000
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 7, nil)
	p := testProducer(t, c)
	for i := range n {
		p.Append(topic, -1, fmt.Appendf(nil, "agent-%d", i), fmt.Appendf(nil, "%d", i), Header{"h", []byte("x")})
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	choose := kgo.StickyKeyPartitioner(nil).ForTopic(topic) // Java's murmur2
	k := kgoClient(t, b.Addr(), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for seen := 0; seen < n; {
		fetches := k.PollFetches(testContext(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			seen++
			if want := choose.Partition(r, 7); int(r.Partition) != want {
				t.Errorf("key %q is in partition %d, Java's client puts it into %d", r.Key, r.Partition, want)
			}
			if len(r.Headers) != 1 || r.Headers[0].Key != "h" || string(r.Headers[0].Value) != "x" {
				t.Errorf("headers = %v", r.Headers)
			}
		})
	}
	// Without a key the partitions take turns.
	for range 7 {
		p.Append(topic, -1, nil, []byte("turn"))
		if err := p.Flush(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 7 {
		if v := values(t, c, topic, i); v[len(v)-1] != "turn" {
			t.Errorf("partition %d got no record without a key", i)
		}
	}
}

func testTooLarge(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr(), func(cfg *Config) { cfg.Compression = "none" })
	topic := testTopic(t, c, 1, map[string]string{"max.message.bytes": "10000"})
	p := testProducer(t, c)
	// Both limits are met, ours and the topic's, between records that fit. A
	// batch of many that fit is split until the broker takes it.
	var want []string
	for i := range 100 {
		v := fmt.Sprint(i, strings.Repeat("z", 1000))
		want = append(want, v)
		p.Append(topic, 0, nil, []byte(v))
		switch i {
		case 20:
			p.AppendAt(time.UnixMilli(60), topic, 0, []byte("above the topic's"), make([]byte, 20_000), Header{"of", []byte("60")})
		case 60:
			p.AppendAt(time.UnixMilli(60), topic, 0, []byte("above ours"), make([]byte, 2_000_000), Header{"of", []byte("60")})
		}
	}
	err := p.Flush(testContext(t))
	var keys []string
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("Flush = %v, want the records that are too large", err)
	}
	for _, e := range joined.Unwrap() {
		var large *TooLargeError
		if !errors.As(e, &large) || large.Topic != topic || large.Partition != 0 || large.Size < 20_000 ||
			!large.Time.Equal(time.UnixMilli(60)) || !cmp.Equal(large.Headers, []Header{{"of", []byte("60")}}) {
			t.Errorf("error %v is no complete TooLargeError", e)
			continue
		}
		keys = append(keys, string(large.Key))
	}
	if diff := cmp.Diff([]string{"above the topic's", "above ours"}, keys); diff != "" {
		t.Errorf("refused keys (-want +got):\n%s", diff)
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Errorf("second Flush: %v", err)
	}
	if diff := cmp.Diff(want, values(t, c, topic, 0)); diff != "" {
		t.Errorf("all others (-want +got):\n%.500s", diff)
	}
}

// testLargeBatch reads batches larger than the fetch size.
func testLargeBatch(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr(), func(cfg *Config) { cfg.Compression, cfg.FetchMaxBytes = "none", 1024 })
	topic := testTopic(t, c, 1, nil)
	p := testProducer(t, c)
	p.Append(topic, 0, nil, []byte(strings.Repeat("a", 100_000)))
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	produceNumbers(t, p, topic, 1, 0, 500)
	l := newLedger()
	stop := running(t, c, topic, l)
	eventually(t, "all is processed", func() bool { return l.count() == 501 })
	stop()
	l.check(t)
}
