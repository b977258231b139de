package stream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// startCluster starts three brokers whose answers can be changed.
func startCluster(t testing.TB) (*kfake.Cluster, string) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.GroupMinSessionTimeout(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, cluster.ListenAddrs()[0]
}

func TestProduceFaults(t *testing.T) {
	cluster, addr := startCluster(t)
	c := testClient(t, addr)
	// The broker stores the batch of some although it answers with the error.
	for _, fault := range []*kerr.Error{
		kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.NotLeaderForPartition, kerr.LeaderNotAvailable,
		kerr.NotEnoughReplicas, kerr.KafkaStorageError, kerr.UnknownServerError, kerr.UnknownTopicOrPartition,
		kerr.UnknownProducerID, kerr.OutOfOrderSequenceNumber, kerr.InvalidProducerEpoch,
	} {
		t.Run(fault.Message, func(t *testing.T) {
			topic := testTopic(t, c, 3, nil)
			p := testProducer(t, c)
			want := make([][]string, 3)
			for round := range 5 {
				h := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{1}, Err: fault, Count: 2})
				for i := range 30 {
					v := fmt.Sprint(round, " ", i)
					want[i%3] = append(want[i%3], v)
					p.Append(topic, i%3, nil, []byte(v))
				}
				if err := p.Flush(testContext(t)); err != nil {
					t.Fatal(err)
				}
				if h.Hits() != 2 && fault != kerr.RequestTimedOut && fault != kerr.NotEnoughReplicasAfterAppend {
					t.Errorf("round %d: the fault was met %d times, want 2", round, h.Hits())
				}
				h.Remove()
			}
			for i := range 3 {
				if diff := cmp.Diff(want[i], values(t, c, topic, i)); diff != "" {
					t.Errorf("partition %d (-want +got):\n%.500s", i, diff)
				}
			}
		})
	}
}

func TestProduceRefusedForGood(t *testing.T) {
	cluster, addr := startCluster(t)
	c := testClient(t, addr)
	topic := testTopic(t, c, 2, nil)
	p := testProducer(t, c)
	h := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{1}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	p.Append(topic, 0, nil, []byte("a"))
	p.Append(topic, 1, nil, []byte("b"))
	if err := p.Flush(testContext(t)); !errors.Is(err, kafka.TopicAuthorizationFailed) || !strings.Contains(err.Error(), topic+"/1") {
		t.Errorf("Flush = %v, want %v of partition 1", err, kafka.TopicAuthorizationFailed)
	}
	h.Remove()
	p.Append(topic, 1, nil, []byte("c"))
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"a"}, {"b", "c"}}, [][]string{values(t, c, topic, 0), values(t, c, topic, 1)}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	p.Append(topic, 2, nil, nil)
	if err := p.Flush(testContext(t)); err == nil || !strings.Contains(err.Error(), "has 2 partitions, want to write partition 2") {
		t.Errorf("Flush to a partition that is not there = %v", err)
	}
}

// TestProduceGivenUp ends a Flush before it is answered. The next one goes on
// where it was, without a gap and without a double.
func TestProduceGivenUp(t *testing.T) {
	cluster, addr := startCluster(t)
	c := testClient(t, addr)
	topic := testTopic(t, c, 1, nil)
	p := testProducer(t, c)
	for i := range 20 {
		release := make(chan struct{})
		var fault *kfake.FaultHandle
		if i%2 == 0 { // before the broker has stored it
			cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				cluster.DropControl()
				cluster.SleepControl(func() { <-release })
				return nil, nil, false
			})
		} else { // after
			// Of every request until then: one that was given up before may come only now.
			fault = cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.RequestTimedOut, Count: -1})
		}
		p.Append(topic, 0, nil, fmt.Append(nil, i))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := p.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Flush %d = %v, want %v", i, err, context.DeadlineExceeded)
		}
		cancel()
		close(release)
		if fault != nil {
			fault.Remove()
		}
		if p.Buffered() == 0 {
			t.Error("Buffered = 0 after a Flush that was given up")
		}
		if err := p.Flush(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(numbers(0, 1, 20), values(t, c, topic, 0)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSequenceWraps passes the largest sequence number.
func TestSequenceWraps(t *testing.T) {
	l := lane{sequence: math.MaxInt32 - 1, queue: []*batch{{count: 3, wire: make([]byte, batchStart)}}}
	_, addr := startCluster(t)
	p := testProducer(t, testClient(t, addr))
	if err := p.settle(t.Context(), &l, produceResult{}); err != nil {
		t.Fatal(err)
	}
	if l.sequence != 1 { // Java's incrementSequence
		t.Errorf("sequence after 2147483646 and 3 records = %d, want 1", l.sequence)
	}
}

func TestLeaderMoves(t *testing.T) {
	const partitions = 3
	cluster, addr := startCluster(t)
	c := testClient(t, addr)
	topic := testTopic(t, c, partitions, nil)
	l := newLedger()
	stop := running(t, c, topic, l)
	p := testProducer(t, c)
	for round := range 4 {
		produceNumbers(t, p, topic, partitions, 300*round, 300*round+300)
		eventually(t, "it is processed", func() bool { return l.distinct() == 300*(round+1) })
		for i := range int32(partitions) {
			if err := cluster.MoveTopicPartition(topic, i, (cluster.LeaderFor(topic, i)+1)%3); err != nil {
				t.Fatal(err)
			}
		}
		cluster.RehashCoordinators()
	}
	stop()
	l.check(t)
	for i := range partitions {
		if diff := cmp.Diff(numbers(i, partitions, 1200), values(t, c, topic, i)); diff != "" {
			t.Errorf("partition %d (-want +got):\n%.500s", i, diff)
		}
	}
}

func TestConsumeFaults(t *testing.T) {
	cluster, addr := startCluster(t)
	c := testClient(t, addr)
	for _, tt := range []struct {
		key   kmsg.Key
		fault *kerr.Error
		top   bool
	}{
		{kmsg.Fetch, kerr.NotLeaderForPartition, false},
		{kmsg.Fetch, kerr.UnknownTopicOrPartition, false},
		{kmsg.Fetch, kerr.KafkaStorageError, false},
		{kmsg.Fetch, kerr.UnknownServerError, false},
		{kmsg.Fetch, kerr.OffsetOutOfRange, false}, // although it is not
		{kmsg.ListOffsets, kerr.NotLeaderForPartition, false},
		{kmsg.OffsetCommit, kerr.CoordinatorLoadInProgress, false},
		{kmsg.OffsetCommit, kerr.NotCoordinator, false},
		{kmsg.OffsetCommit, kerr.IllegalGeneration, false},
		{kmsg.OffsetCommit, kerr.UnknownMemberID, false},
		{kmsg.JoinGroup, kerr.NotCoordinator, true},
		{kmsg.SyncGroup, kerr.UnknownMemberID, true},
		{kmsg.Heartbeat, kerr.UnknownMemberID, true},
		{kmsg.Heartbeat, kerr.RebalanceInProgress, true},
		{kmsg.FindCoordinator, kerr.CoordinatorNotAvailable, true},
	} {
		t.Run(fmt.Sprint(tt.key.Name(), " ", tt.fault.Message), func(t *testing.T) {
			topic := testTopic(t, c, 1, nil)
			p := testProducer(t, c)
			produceNumbers(t, p, topic, 1, 0, 10)
			h := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{tt.key}, Err: tt.fault, Count: 2, TopLevel: tt.top})
			l := newLedger()
			stop := running(t, c, topic, l)
			eventually(t, "the fault is met", func() bool { return h.Hits() == 2 })
			produceNumbers(t, p, topic, 1, 10, 20)
			eventually(t, "all is processed", func() bool { return l.distinct() == 20 })
			eventually(t, "all is committed", func() bool { return commits(t, c, topic, 1)[0] == 20 })
			stop()
			l.check(t)
		})
	}
}

// TestFenced has a member lose its partition without being told, as when its
// machine slept: what it commits later is refused, and it joins again.
func TestFenced(t *testing.T) {
	cluster, addr := startCluster(t)
	c := testClient(t, addr)
	topic := testTopic(t, c, 1, nil)
	group := "group-" + topic
	l := newLedger()
	stop := running(t, c, topic, l)
	p := testProducer(t, c)
	produceNumbers(t, p, topic, 1, 0, 10)
	eventually(t, "the first are committed", func() bool { return commits(t, c, topic, 1)[0] == 10 })

	// Heartbeats get no answer that tells; the broker drops the member.
	h := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: group, Err: kerr.UnknownMemberID, Count: 1})
	produceNumbers(t, p, topic, 1, 10, 20)
	eventually(t, "the commit is refused", func() bool { return h.Hits() == 1 })
	eventually(t, "the second are committed", func() bool { return commits(t, c, topic, 1)[0] == 20 })
	stop()
	l.check(t)
	if got := testutil.ToFloat64(c.metrics.commitErrors.WithLabelValues(group)); got != 1 {
		t.Errorf("commit_errors_total = %v, want 1", got)
	}
	if len(l.opened) != 2 || l.opened[1].Generation <= l.opened[0].Generation || l.opened[1].Next != 10 {
		t.Errorf("opened %v, want twice, from offset 10 in a later generation", l.opened)
	}
	want := append(numbers(0, 1, 20), numbers(0, 1, 20)[10:]...)
	if diff := cmp.Diff(want, l.values[0]); diff != "" {
		t.Errorf("processed (-want +got):\n%s", diff)
	}
}

// TestOversizeIsSkipped reads past a batch that unpacks into too much. Reading
// it to its end for a caller is refused instead.
func TestOversizeIsSkipped(t *testing.T) {
	_, addr := startCluster(t)
	c := testClient(t, addr, func(c *Config) { c.Compression, c.ProduceMaxBytes = "zstd", maxBatchBytes+2<<20 })
	topic := testTopic(t, c, 1, map[string]string{"max.message.bytes": "100000000"})
	p := testProducer(t, c)
	p.Append(topic, 0, nil, []byte("before"))
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p.Append(topic, 0, nil, make([]byte, maxBatchBytes/2+1<<10))
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	p.Append(topic, 0, nil, []byte("after"))
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	stop := running(t, c, topic, l)
	eventually(t, "the rest is processed", func() bool { return l.count() == 2 })
	stop()
	l.check(t)
	if diff := cmp.Diff([]string{"before", "after"}, l.values[0]); diff != "" {
		t.Errorf("processed (-want +got):\n%s", diff)
	}
	if got := testutil.ToFloat64(c.metrics.skipped.WithLabelValues(topic, "oversize")); got != 2 {
		t.Errorf("skipped_total = %v, want 2", got)
	}
	next, err := c.ReadPartition(testContext(t), topic, 0, -1, func(*Record) error { return nil })
	var over *oversizeError
	if next != 1 || !errors.As(err, &over) {
		t.Errorf("ReadPartition = %d, %v, want 1 and an oversizeError", next, err)
	}
}

// TestRunEndsWithoutBroker ends Run while the broker is down, and while it does
// not answer at all.
func TestRunEndsWithoutBroker(t *testing.T) {
	b := startEmbedded(t)
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, nil)
	l := newLedger()
	stop := running(t, c, topic, l)
	produceNumbers(t, testProducer(t, c), topic, 1, 0, 10)
	eventually(t, "it is processed", func() bool { return l.count() == 10 })
	b.Stop(t)
	eventually(t, "Ready says so", func() bool { return c.Ready() != nil })
	start := time.Now()
	stop()
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("Run took %s to end", d)
	}
	l.check(t)

	// A topic of a broker that is down is waited for, until ctx ends.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := testClient(t, b.Addr()).Run(ctx, Group{Name: "g", Topics: []string{topic}}, l.open); err != nil {
		t.Errorf("Run without a broker = %v, want nil when ctx ends", err)
	}
	b.Start(t)
}

// TestRunEndsWhileJoining ends Run while the coordinator waits for others.
func TestRunEndsWhileJoining(t *testing.T) {
	cluster, addr := startCluster(t)
	c := testClient(t, addr, func(cfg *Config) {
		cfg.SessionTimeout, cfg.RebalanceTimeout = time.Second, 2*time.Second
	})
	topic := testTopic(t, c, 1, nil)
	joining, release := make(chan struct{}), make(chan struct{})
	cluster.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.DropControl()
		close(joining)
		cluster.SleepControl(func() { <-release })
		return nil, nil, false
	})
	l := newLedger()
	stop := running(t, c, topic, l)
	<-joining
	start := time.Now()
	stop()
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("Run took %s to end", d)
	}
	close(release)
	if len(l.opened) != 0 {
		t.Errorf("opened %v", l.opened)
	}
}

// TestNothingIsLeftRunning counts goroutines.
func TestNothingIsLeftRunning(t *testing.T) {
	b := startEmbedded(t)
	runtime.GC()
	before := runtime.NumGoroutine()
	for range 3 {
		c := testClient(t, b.Addr())
		topic := testTopic(t, c, 4, nil)
		produceNumbers(t, testProducer(t, c), topic, 4, 0, 100)
		l := newLedger()
		stop := running(t, c, topic, l)
		eventually(t, "all is owned", func() bool { return l.owned() == 4 })
		stop()
		c.Close()
	}
	eventually(t, "as many goroutines run as before", func() bool { return runtime.NumGoroutine() <= before })
}

func TestReadyAsksWhenNobodyDoes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := testClient(t, ln.Addr().String()).Ready(); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Ready without a broker = %v, want connection refused", err)
	}
	_, addr := startCluster(t)
	if err := testClient(t, addr).Ready(); err != nil {
		t.Errorf("Ready of a client that asked nothing yet: %v", err)
	}
}
