package stream

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	lag            *lags
	fetchedRecords *prometheus.CounterVec   // topic
	fetchedBytes   *prometheus.CounterVec   // topic
	skipped        *prometheus.CounterVec   // topic, reason
	checkpoints    *prometheus.CounterVec   // group, topic
	checkpointTime *prometheus.HistogramVec // group
	commitErrors   *prometheus.CounterVec   // group
	rebalances     *prometheus.CounterVec   // group
	reopened       *prometheus.CounterVec   // group, topic
	produced       *prometheus.CounterVec   // topic
	producedBytes  *prometheus.CounterVec   // topic
	produceRetries *prometheus.CounterVec   // topic
}

// newMetrics registers what the package counts. A second client on the same
// registry counts into the same metrics.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	var errs []error
	m := &metrics{
		lag:            register(reg, &errs, newLags()),
		fetchedRecords: counter(reg, &errs, "fetched_records_total", "Records handed over for processing.", "topic"),
		fetchedBytes:   counter(reg, &errs, "fetched_bytes_total", "Bytes of record sets fetched, compressed.", "topic"),
		skipped: counter(reg, &errs, "skipped_total",
			"Offsets that were never processed: deleted by retention before we read them (retention), or in a batch too large to unpack (oversize).", "topic", "reason"),
		checkpoints: counter(reg, &errs, "checkpoints_total", "Checkpoints that were made and committed.", "group", "topic"),
		checkpointTime: register(reg, &errs, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "stakeout_stream_checkpoint_seconds",
			Help:    "Time from the start of a checkpoint to its commit.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"group"})),
		commitErrors:   counter(reg, &errs, "commit_errors_total", "Commits that failed; they are repeated.", "group"),
		rebalances:     counter(reg, &errs, "rebalances_total", "Generations of the group this member took part in.", "group"),
		reopened:       counter(reg, &errs, "reopened_total", "Partitions opened again from their last commit after an error.", "group", "topic"),
		produced:       counter(reg, &errs, "produced_records_total", "Records acknowledged by all in-sync replicas.", "topic"),
		producedBytes:  counter(reg, &errs, "produced_bytes_total", "Bytes of acknowledged batches, compressed.", "topic"),
		produceRetries: counter(reg, &errs, "produce_retries_total", "Batches sent again.", "topic"),
	}
	return m, errors.Join(errs...)
}

func counter(reg prometheus.Registerer, errs *[]error, name, help string, labels ...string) *prometheus.CounterVec {
	return register(reg, errs, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "stakeout_stream_" + name, Help: help}, labels))
}

func register[C prometheus.Collector](reg prometheus.Registerer, errs *[]error, c C) C {
	err := reg.Register(c)
	var twice prometheus.AlreadyRegisteredError
	if errors.As(err, &twice) {
		if same, ok := twice.ExistingCollector.(C); ok {
			return same
		}
	}
	if err != nil {
		*errs = append(*errs, fmt.Errorf("register metric: %w", err))
	}
	return c
}
