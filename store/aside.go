package store

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// asideInterval is how often it is asked what ClickHouse has set aside.
const asideInterval = time.Minute

const brokenParts = `SELECT count() FROM system.detached_parts WHERE database = ? AND startsWith(reason, 'broken')`

// watchAside tells of the parts of tables that ClickHouse could not read when it
// started, and went on without. Their rows are missing, unless the parts that one was
// merged from were still there; nothing else says so.
func (s *Store) watchAside(ctx context.Context) {
	tick := time.NewTicker(asideInterval)
	defer tick.Stop()
	for known := uint64(0); ; {
		var n uint64
		switch err := s.admin.QueryRow(ctx, brokenParts, s.cfg.Database).Scan(&n); {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Debug("parts set aside not asked for", "err", err)
		default:
			if n > known {
				s.log.Error("ClickHouse has set parts of tables aside that it cannot read: rows may be missing", "parts", n,
					"see", "system.detached_parts", "remedy", "reset the offsets of this role's groups to store again what Kafka keeps, then drop the detached parts")
			}
			known = n
			s.metrics.aside.Set(float64(n))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func newAside() prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: "stakeout_store_parts_set_aside",
		Help: "Parts of the tables that ClickHouse could not read and went on without; rows may be missing."})
}
