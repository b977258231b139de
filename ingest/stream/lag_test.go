package stream

import (
	"context"
	"testing"
	"time"
)

// of is what the metrics say of one partition.
func (s *lags) of(group, topic, partition string) (records int64, age time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.all[[3]string{group, topic, partition}]
	if l == nil || l.known.Load() == 0 {
		return 0, 0, false
	}
	return l.end.Load() - l.next.Load(), l.age(), true
}

// A stalled processor takes its first records and then waits.
type stalled struct{ release <-chan struct{} }

func (s stalled) Process(ctx context.Context, _ []Record) error {
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return nil
}

func (s stalled) Checkpoint(context.Context) error { return nil }

// testLag has a processor take long: the lag must grow with the partition though
// nothing is fetched from it, and stay fresh.
func testLag(t *testing.T, b testBroker) {
	const n = 1000
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, nil)
	p := testProducer(t, c)
	produceNumbers(t, p, topic, 1, 0, n)
	release := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.Run(ctx, Group{Name: "group-" + topic, Topics: []string{topic}}, func(context.Context, Owned) (Processor, error) {
			return stalled{release}, nil
		})
	}()
	lag := func(want int64) func() bool {
		return func() bool {
			records, age, ok := c.metrics.lag.of("group-"+topic, topic, "0")
			return ok && records == want && age < 2*lagInterval
		}
	}
	eventually(t, "the lag is known while the first records are processed", lag(n))
	produceNumbers(t, p, topic, 1, n, 10*n)
	eventually(t, "the lag has grown with the partition", lag(10*n))
	close(release)
	eventually(t, "lag is zero", lag(0))
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
