package app

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type sharingMetrics struct {
	judged, rejected, forgotten, passed prometheus.Counter

	entities, held *prometheus.GaugeVec
	waited         prometheus.Histogram
}

func newSharingMetrics(reg prometheus.Registerer) (*sharingMetrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "stakeout_detect_" + name, Help: help})
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "stakeout_detect_" + name, Help: help}, []string{"partition"})
	}
	m := &sharingMetrics{
		judged:    counter("facts_judged_total", "Facts about what agents share that were judged."),
		rejected:  counter("facts_rejected_total", "Records of the facts that could not be judged and went to the rejects."),
		forgotten: counter("forgotten_entities_total", "Shared things that were forgotten to make room: a partition holds detect.max_entities."),
		passed:    counter("facts_stalled_total", "Partitions of raw lines or of events that stood still for detect.stalled, so that facts were judged without theirs."),
		entities:  gauge("entities", "Shared things that are known, by partition of the facts."),
		held:      gauge("facts_waiting", "Facts that are held back until those before them have been told, by partition of the facts."),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "stakeout_detect_facts_wait_seconds", Help: "How long the facts were held back that waited longest, each time that they could be judged.",
			Buckets: []float64{.1, .25, .5, .75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300}}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.judged, m.rejected, m.forgotten, m.passed, m.entities, m.held, m.waited} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
