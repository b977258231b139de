package stream

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// lagInterval is how old the known end of a partition may get, while nothing is
// fetched from it, before the broker is asked for it.
const lagInterval = 2 * time.Second

// A lag is how far an owner is behind the end of its partition. The end comes
// with every fetch; while records are being processed, however long that takes,
// it is asked for. A broker that does not answer leaves it as it is, and its age tells.
type lag struct {
	series [3]string // group, topic, partition

	next  atomic.Int64 // offset to process
	end   atomic.Int64 // of the partition, when it was learned
	known atomic.Int64 // when that was, Unix nanoseconds; 0: never
}

func (l *lag) learn(end int64) {
	l.end.Store(end)
	l.known.Store(time.Now().UnixNano())
}

func (l *lag) age() time.Duration { return time.Since(time.Unix(0, l.known.Load())) }

// watch asks for the end whenever it has become old, until ctx ends.
func (l *lag) watch(ctx context.Context, c *Client, partition int) {
	tick := time.NewTicker(lagInterval)
	defer tick.Stop()
	for {
		if l.age() >= lagInterval {
			err := c.offsets(ctx, l.series[1], []int{partition}, func(_ int, at Range) { l.learn(at.Next) })
			if err != nil {
				return // ctx has ended; or it is for good, and the fetches say so
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lags are the metrics of all owners of a registry.
type lags struct {
	records, age *prometheus.Desc

	mu  sync.Mutex
	all map[[3]string]*lag // the owner that came last
}

func newLags() *lags {
	labels := []string{"group", "topic", "partition"}
	return &lags{
		records: prometheus.NewDesc("stakeout_stream_lag_records", "Offsets between the next record to process and the end of the partition, as it was known last.", labels, nil),
		age:     prometheus.NewDesc("stakeout_stream_lag_age_seconds", "Time since the end of the partition was learned: how old the lag is. It grows while Kafka does not answer.", labels, nil),
		all:     map[[3]string]*lag{},
	}
}

func (s *lags) add(group, topic string, partition int) *lag {
	l := &lag{series: [3]string{group, topic, strconv.Itoa(partition)}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[l.series] = l
	return l
}

func (s *lags) remove(l *lag) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[l.series] == l {
		delete(s.all, l.series)
	}
}

// Describe implements [prometheus.Collector].
func (s *lags) Describe(ch chan<- *prometheus.Desc) { ch <- s.records; ch <- s.age }

// Collect implements [prometheus.Collector]. Of a partition whose end was never
// learned there is nothing to say.
func (s *lags) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for labels, l := range s.all {
		if l.known.Load() == 0 {
			continue
		}
		behind := max(0, l.end.Load()-l.next.Load())
		ch <- prometheus.MustNewConstMetric(s.records, prometheus.GaugeValue, float64(behind), labels[:]...)
		ch <- prometheus.MustNewConstMetric(s.age, prometheus.GaugeValue, l.age().Seconds(), labels[:]...)
	}
}
