package ingest

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// metrics are what ingest tells Prometheus. Every line that was read is in one
// of events, rejects and empty.
type metrics struct {
	records prometheus.Counter
	events  prometheus.Counter
	rejects *prometheus.CounterVec // field
	empty   prometheus.Counter
	skew    prometheus.Counter
	unknown prometheus.Counter
	panics  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "stakeout", Subsystem: "ingest", Name: name, Help: help}
	}
	m := &metrics{
		records: prometheus.NewCounter(opts("records_total", "Raw records read.")),
		events:  prometheus.NewCounter(opts("events_total", "Lines that were written as events.")),
		rejects: prometheus.NewCounterVec(opts("rejects_total", "Lines that are no events, by the field at fault."), []string{"field"}),
		empty:   prometheus.NewCounter(opts("empty_lines_total", "Lines without anything on them.")),
		skew:    prometheus.NewCounter(opts("skew_total", "Events whose time was ahead of the ingest clock and was set to it.")),
		unknown: prometheus.NewCounter(opts("unknown_fields_total", "Fields and values that were left out because they are not known.")),
		panics:  prometheus.NewCounter(opts("panics_total", "Lines that were refused because reading them panicked.")),
	}
	m.rejects.WithLabelValues(event.LineField)
	for _, name := range event.FieldNames() {
		m.rejects.WithLabelValues(name)
	}
	reg.MustRegister(m.records, m.events, m.rejects, m.empty, m.skew, m.unknown, m.panics)
	return m
}

// counts are the figures of what is not yet acknowledged. They become metrics
// only then, so that what an error makes us read again is not counted twice.
type counts struct {
	records, events, empty, skew, unknown, panics int

	rejects map[string]int // by field
}

// add moves c into the metrics.
func (m *metrics) add(c *counts) {
	m.records.Add(float64(c.records))
	m.events.Add(float64(c.events))
	m.empty.Add(float64(c.empty))
	m.skew.Add(float64(c.skew))
	m.unknown.Add(float64(c.unknown))
	m.panics.Add(float64(c.panics))
	for field, n := range c.rejects {
		m.rejects.WithLabelValues(field).Add(float64(n))
	}
	clear(c.rejects)
	*c = counts{rejects: c.rejects}
}
