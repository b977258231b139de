package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	broker "github.com/stakeout-project/stakeout/deploy/kafka"
)

func TestStreamEmbedded(t *testing.T) { suite(t, startEmbedded(t)) }

func TestStreamRealKafka(t *testing.T) {
	b := startReal(t, broker.Options{})
	suite(t, b)
	t.Run("Pause", func(t *testing.T) { testPause(t, b) })
}

// suite is what holds for every Kafka.
func suite(t *testing.T, b testBroker) {
	for _, tt := range []struct {
		name string
		f    func(*testing.T, testBroker)
	}{
		{"Topics", testTopics},
		{"OtherSettings", testOtherSettings},
		{"Codecs", testCodecs},
		{"ReadsOthers", testReadsOthers},
		{"OthersReadUs", testOthersReadUs},
		{"Run", testRun},
		{"Lag", testLag},
		{"Progress", testProgress},
		{"Resume", testResume},
		{"Partial", testPartial},
		{"ProcessorErrors", testProcessorErrors},
		{"Rebalance", testRebalance},
		{"Compacted", testCompacted},
		{"AbortedTransaction", testAbortedTransaction},
		{"OpenTransaction", testOpenTransaction},
		{"TooLarge", testTooLarge},
		{"LargeBatch", testLargeBatch},
		{"Retention", testRetention},
		{"NewPartitions", testNewPartitions},
		{"Outage", testOutage},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.f(t, b) })
	}
}

func testTopics(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 3, map[string]string{"retention.ms": "1000000"})
	again := testClient(t, b.Addr())
	if err := again.EnsureTopics(testContext(t), Topic{Name: topic, Partitions: 5}); err != nil {
		t.Errorf("EnsureTopics of a topic that is there: %v", err)
	}
	if n, err := again.Partitions(testContext(t), topic); n != 3 || err != nil {
		t.Errorf("Partitions = %d, %v, want 3", n, err)
	}
	got, err := c.Offsets(testContext(t), topic)
	if diff := cmp.Diff([]Range{{}, {}, {}}, got); diff != "" || err != nil {
		t.Errorf("Offsets of an empty topic: %v (-want +got):\n%s", err, diff)
	}
	bad := Topic{Name: topic + ".bad"}
	if err := c.EnsureTopics(testContext(t), bad); !errors.Is(err, kafka.InvalidPartitionNumber) {
		t.Errorf("EnsureTopics without partitions = %v, want %v", err, kafka.InvalidPartitionNumber)
	}
	if err := c.Ready(); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

// testOtherSettings starts over a topic that somebody else has made.
func testOtherSettings(t *testing.T, b testBroker) {
	topic := testTopic(t, testClient(t, b.Addr()), 1, map[string]string{"message.timestamp.type": "CreateTime", "retention.ms": "1000000"})
	var log bytes.Buffer
	c, err := Open(testConfig(b.Addr()), prometheus.NewRegistry(), slog.New(slog.NewTextHandler(io.MultiWriter(&log, t.Output()), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := func(settings map[string]string, want ...string) {
		t.Helper()
		log.Reset()
		if err := c.EnsureTopics(testContext(t), Topic{Name: topic, Partitions: 1, Settings: settings}); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), "another setting"); n != len(want) {
			t.Errorf("%d settings are told of, want %q:\n%s", n, want, log.String())
		}
		for _, w := range want {
			if !strings.Contains(log.String(), w) {
				t.Errorf("told\n%s, want %s", log.String(), w)
			}
		}
	}
	f(map[string]string{"message.timestamp.type": "LogAppendTime", "retention.ms": "1000000"}, "topic="+topic+" setting=message.timestamp.type is=CreateTime configured=LogAppendTime")
	f(map[string]string{"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}, "is=CreateTime", "setting=retention.ms is=1000000 configured=-1")
	f(map[string]string{"retention.ms": "1000000"})
	f(nil)
}

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

// produceNumbers writes from..to, spread over the partitions, each partition in order.
func produceNumbers(t testing.TB, p *Producer, topic string, partitions, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		p.Append(topic, i%partitions, nil, fmt.Append(nil, i))
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

func numbers(partition, partitions, to int) (want []string) {
	for i := partition; i < to; i += partitions {
		want = append(want, fmt.Sprint(i))
	}
	return want
}

func testRun(t *testing.T, b testBroker) {
	const n, partitions = 50_000, 4
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, partitions, nil)
	produceNumbers(t, testProducer(t, c), topic, partitions, 0, n)
	l := newLedger()
	stop := running(t, c, topic, l)
	eventually(t, "all is processed", func() bool { return l.count() == n })
	eventually(t, "lag is zero", func() bool {
		records, _, ok := c.metrics.lag.of("group-"+topic, topic, "0")
		return ok && records == 0
	})
	stop()
	l.check(t)
	for i := range partitions {
		if diff := cmp.Diff(numbers(i, partitions, n), l.values[i]); diff != "" {
			t.Errorf("partition %d (-want +got):\n%.500s", i, diff)
		}
		if l.kept[i] != len(l.values[i]) {
			t.Errorf("partition %d: last checkpoint covers %d of %d", i, l.kept[i], len(l.values[i]))
		}
	}
	if got := testutil.ToFloat64(c.metrics.fetchedRecords.WithLabelValues(topic)); got != n {
		t.Errorf("fetched_records_total = %v, want %d", got, n)
	}
	if n := testutil.CollectAndCount(c.metrics.lag); n != 0 {
		t.Errorf("%d lag metrics are left of partitions that are not owned", n)
	}
}

// testResume ends consumers with and without a last checkpoint.
func testResume(t *testing.T, b testBroker) {
	const n = 1000
	c := testClient(t, b.Addr(), func(cfg *Config) { cfg.CheckpointInterval = time.Hour })
	topic := testTopic(t, c, 1, nil)
	p := testProducer(t, c)
	produceNumbers(t, p, topic, 1, 0, n)

	crashed := newLedger()
	crashed.durable = func(int) error { return errors.New("crash") }
	stop := running(t, c, topic, crashed)
	eventually(t, "all is processed", func() bool { return crashed.count() == n })
	stop()

	l := newLedger()
	stop = running(t, c, topic, l)
	eventually(t, "all is processed again", func() bool { return l.count() == n })
	stop() // makes the last checkpoint
	l.check(t)
	if diff := cmp.Diff(numbers(0, 1, n), l.values[0]); diff != "" {
		t.Errorf("after a crash (-want +got):\n%.500s", diff)
	}

	rest := newLedger()
	stop = running(t, c, topic, rest)
	eventually(t, "the partition is owned", func() bool { return rest.owned() == 1 })
	produceNumbers(t, p, topic, 1, n, n+10)
	eventually(t, "the rest is processed", func() bool { return rest.count() >= 10 })
	stop()
	rest.check(t)
	if diff := cmp.Diff(numbers(0, 1, n+10)[n:], rest.values[0]); diff != "" {
		t.Errorf("after a checkpoint (-want +got):\n%.500s", diff)
	}
	if got := rest.opened[0].Next; got != n {
		t.Errorf("Owned.Next = %d, want %d", got, n)
	}
}

// testProcessorErrors has a processor fail in every way: nothing is skipped,
// the assignment is kept, and Run goes on.
func testProcessorErrors(t *testing.T, b testBroker) {
	const n = 2000
	c := testClient(t, b.Addr(), func(cfg *Config) { cfg.CheckpointRecords = 100 })
	topic := testTopic(t, c, 1, nil)
	p := testProducer(t, c)
	l := newLedger()
	l.openFails = errors.New("open fails once")
	tries := 0
	l.process = func(int, []Record) error {
		tries++
		switch tries {
		case 3:
			return errors.New("process fails once")
		case 5:
			panic("processor panics once")
		}
		return nil
	}
	checkpoints := 0
	l.durable = func(int) error {
		checkpoints++
		if checkpoints == 2 {
			return errors.New("checkpoint fails once")
		}
		return nil
	}
	stop := running(t, c, topic, l)
	for i := range 20 {
		produceNumbers(t, p, topic, 1, i*n/20, (i+1)*n/20)
		eventually(t, "it is processed", func() bool { return l.distinct() == (i+1)*n/20 })
	}
	stop()
	l.check(t)
	if got := l.distinct(); got != n {
		t.Errorf("processed %d of %d", got, n)
	}
	generations := map[int32]bool{}
	for _, o := range l.opened {
		generations[o.Generation] = true
	}
	if len(generations) != 1 || len(l.opened) != 4 {
		t.Errorf("opened %d times in %d generations, want 4 in one: %v", len(l.opened), len(generations), l.opened)
	}
	if got := testutil.ToFloat64(c.metrics.reopened.WithLabelValues("group-"+topic, topic)); got != 4 {
		t.Errorf("reopened_total = %v, want 4", got)
	}
}

func testRebalance(t *testing.T, b testBroker) {
	const partitions = 6
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, partitions, nil)
	p := testProducer(t, c)
	l := newLedger() // one for all members: it sees who overlaps whom
	written := 0
	write := func() {
		t.Helper()
		produceNumbers(t, p, topic, partitions, written, written+600)
		written += 600
	}
	committed := map[int]int64{}
	watch := func() {
		t.Helper()
		for i, at := range commits(t, c, topic, partitions) {
			if at < committed[i] {
				t.Errorf("commit of partition %d went back from %d to %d", i, committed[i], at)
			}
			committed[i] = at
		}
	}
	// Every change is made in the middle of traffic and waited out.
	settle := func(what string) {
		t.Helper()
		for range 5 {
			write()
			watch()
		}
		eventually(t, what+": all is processed", func() bool { watch(); return l.distinct() == written })
		eventually(t, what+": all is owned", func() bool { return l.owned() == partitions })
	}
	member := func() func() { return running(t, testClient(t, b.Addr()), topic, l) }
	first := member()
	settle("one member")
	second := member()
	settle("two members")
	third := member()
	settle("three members")
	first()
	settle("first has left")
	third()
	settle("third has left")
	second()
	l.check(t)
	for i := range partitions {
		if got, want := commits(t, c, topic, partitions)[i], int64(written/partitions); got != want {
			t.Errorf("last commit of partition %d = %d, want %d", i, got, want)
		}
	}
	if n := l.count() - written; n > 0 {
		t.Errorf("%d records were processed again, though every member left in order", n)
	}
}

func commits(t testing.TB, c *Client, topic string, partitions int) map[int]int64 {
	t.Helper()
	var all []int
	for i := range partitions {
		all = append(all, i)
	}
	res, err := c.kafka.OffsetFetch(testContext(t), &kafka.OffsetFetchRequest{
		GroupID: "group-" + topic, Topics: map[string][]int{topic: all},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[int]int64{}
	for _, p := range res.Topics[topic] {
		if p.CommittedOffset >= 0 {
			got[p.Partition] = p.CommittedOffset
		}
	}
	return got
}

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

// testOutage takes the broker down under a producer and a consumer, twice.
func testOutage(t *testing.T, b testBroker) {
	const partitions = 3
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, partitions, nil)
	l := newLedger()
	stop := running(t, c, topic, l)
	p := testProducer(t, c)
	produceNumbers(t, p, topic, partitions, 0, 300)
	eventually(t, "the first are processed", func() bool { return l.distinct() == 300 })

	for round := range 2 {
		from := 300 * (round + 1)
		b.Stop(t)
		for i := from; i < from+300; i++ {
			p.Append(topic, i%partitions, nil, fmt.Append(nil, i))
		}
		flushed := make(chan error, 1)
		ctx := testContext(t)
		go func() { flushed <- p.Flush(ctx) }()
		eventually(t, "Ready says so", func() bool { return c.Ready() != nil })
		b.Start(t)
		if err := <-flushed; err != nil {
			t.Fatalf("Flush over an outage: %v", err)
		}
		eventually(t, "the rest is processed", func() bool { return l.distinct() == from+300 })
		eventually(t, "Ready says so", func() bool { return c.Ready() == nil })
	}
	stop()
	l.check(t)
	for i := range partitions {
		if diff := cmp.Diff(numbers(i, partitions, 900), values(t, c, topic, i)); diff != "" {
			t.Errorf("partition %d holds (-want +got):\n%.500s", i, diff)
		}
	}
}

// testPause has the broker keep its connections and answer nothing, for longer
// than a request may take.
func testPause(t *testing.T, b realBroker) {
	const partitions = 3
	c := testClient(t, b.Addr(), func(cfg *Config) { cfg.RequestTimeout = time.Second })
	topic := testTopic(t, c, partitions, nil)
	l := newLedger()
	stop := running(t, c, topic, l)
	p := testProducer(t, c)
	produceNumbers(t, p, topic, partitions, 0, 300)
	eventually(t, "the first are processed", func() bool { return l.distinct() == 300 })
	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
	for i := 300; i < 600; i++ {
		p.Append(topic, i%partitions, nil, fmt.Append(nil, i))
	}
	flushed := make(chan error, 1)
	ctx := testContext(t)
	go func() { flushed <- p.Flush(ctx) }()
	eventually(t, "Ready says so", func() bool { return c.Ready() != nil })
	if err := b.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-flushed; err != nil {
		t.Fatalf("Flush over a pause: %v", err)
	}
	eventually(t, "the rest is processed", func() bool { return l.distinct() == 600 })
	eventually(t, "Ready says so", func() bool { return c.Ready() == nil })
	stop()
	l.check(t)
	for i := range partitions {
		if diff := cmp.Diff(numbers(i, partitions, 600), values(t, c, topic, i)); diff != "" {
			t.Errorf("partition %d holds (-want +got):\n%.500s", i, diff)
		}
	}
}
