package stream

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/segmentio/kafka-go"
)

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
