package app

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	defaultGC    = 100 // percent of what is alive by which Go lets the heap grow
	leastGC      = 3
	heapInterval = time.Second
)

// boundGarbage keeps the heap from growing by more than so many bytes between two
// collections, until ctx ends. Go would let it double. Of a detect role nearly all
// is profiles, which the collector need not look at, so to collect more often costs
// little. Who has set GOGC decides himself.
func boundGarbage(ctx context.Context, bytes int64) {
	if os.Getenv("GOGC") != "" || bytes == 0 {
		return
	}
	defer debug.SetGCPercent(defaultGC)
	tick := time.NewTicker(heapInterval)
	defer tick.Stop()
	live, set := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}, defaultGC
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(live)
		if want := growth(live[0].Value.Uint64(), bytes); want < set*9/10 || want > set*11/10 {
			debug.SetGCPercent(want) // stops the world for an instant, so not for every little
			set = want
		}
	}
}

// growth is by how many percent a heap of which so much is alive may grow.
func growth(live uint64, bytes int64) int {
	return int(min(max(float64(bytes)*100/float64(max(live, 1)), leastGC), defaultGC))
}
