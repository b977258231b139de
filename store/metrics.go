package store

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what the writers do, by table.
type metrics struct {
	reg      prometheus.Registerer
	rows     *prometheus.CounterVec
	batches  *prometheus.CounterVec
	retries  *prometheus.CounterVec
	refused  *prometheus.CounterVec
	restored *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	aside    prometheus.Gauge
	lost     prometheus.Gauge
	all      []prometheus.Collector
}

func newMetrics(reg prometheus.Registerer, s *Store) *metrics {
	label := []string{"table"}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "stakeout_store_" + name, Help: help}, label)
	}
	m := &metrics{
		reg:      reg,
		rows:     counter("rows_total", "Rows that ClickHouse acknowledged; a replayed row counts again."),
		batches:  counter("batches_total", "Batches that ClickHouse acknowledged."),
		retries:  counter("retries_total", "Batches that had to be sent again."),
		refused:  counter("refused_total", "Records that are no rows, and rows that ClickHouse does not take."),
		restored: counter("restored_rows_total", "Rows stored again because ClickHouse had set parts aside that it could not read; some may not have been missing."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "stakeout_store_insert_seconds", Help: "Time of one insert, failed ones included.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}, label),
		aside: newAside(),
		lost:  newLost(),
	}
	m.all = []prometheus.Collector{m.rows, m.batches, m.retries, m.refused, m.restored, m.seconds, m.aside, m.lost, queues{s}}
	return m
}

// register has the metrics collected, from when all writers are there.
func (m *metrics) register() error {
	for i, c := range m.all {
		if err := m.reg.Register(c); err != nil {
			for _, earlier := range m.all[:i] {
				m.reg.Unregister(earlier)
			}
			return fmt.Errorf("register metric: %w", err)
		}
	}
	return nil
}

// expect has the counters of a table start at zero: what first appears as 1 is no increase to Prometheus.
func (m *metrics) expect(table string) {
	for _, c := range []*prometheus.CounterVec{m.rows, m.batches, m.retries, m.refused, m.restored} {
		c.WithLabelValues(table)
	}
}

func (m *metrics) unregister() {
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}

// queue is what the metrics and the readiness ask of a writer.
type queue interface {
	table() string
	waiting() (rows int, oldest time.Duration)
	failing() error
}

// queues collects the state of the writers' queues when it is asked for.
type queues struct{ s *Store }

func (q queues) Describe(ch chan<- *prometheus.Desc) {
	ch <- waitingDesc()
	ch <- oldestDesc()
}

func (q queues) Collect(ch chan<- prometheus.Metric) {
	for _, w := range q.s.queues {
		rows, oldest := w.waiting()
		ch <- prometheus.MustNewConstMetric(waitingDesc(), prometheus.GaugeValue, float64(rows), w.table())
		ch <- prometheus.MustNewConstMetric(oldestDesc(), prometheus.GaugeValue, oldest.Seconds(), w.table())
	}
}

func waitingDesc() *prometheus.Desc {
	return prometheus.NewDesc("stakeout_store_waiting_rows", "Rows that are not acknowledged yet.", []string{"table"}, nil)
}

func oldestDesc() *prometheus.Desc {
	return prometheus.NewDesc("stakeout_store_oldest_waiting_seconds", "Age of the oldest row that is not acknowledged yet.", []string{"table"}, nil)
}
