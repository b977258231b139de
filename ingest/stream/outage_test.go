package stream

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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
