package app

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"
)

const (
	defaultGC    = 100 // percent of what is alive by which Go lets the heap grow
	leastGC      = 1
	heapInterval = time.Second
	freeInterval = 10 * time.Second // between returns of memory, which cost a collection each
)

// boundGarbage keeps the heap from growing by more than so many bytes between two
// collections, until ctx ends, and what is free and not returned to the system below
// as much. Go would let it double and keep a tenth. Of a detect role nearly all is
// profiles and their names, which the collector need not look at, so to
// collect more often costs little; of a store it is batches. Who has set GOGC decides himself.
func boundGarbage(ctx context.Context, bytes int64) {
	if os.Getenv("GOGC") != "" || bytes == 0 {
		return
	}
	defer debug.SetGCPercent(defaultGC)
	tick := time.NewTicker(heapInterval)
	defer tick.Stop()
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	set, returned := defaultGC, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(heap)
		live, free := heap[0].Value.Uint64(), heap[1].Value.Uint64()
		if want := growth(live, bytes); want < set*9/10 || want > set*11/10 {
			debug.SetGCPercent(want) // stops the world for an instant, so not for every little
			set = want
		}
		if free > uint64(bytes) && set < defaultGC && time.Since(returned) >= freeInterval {
			debug.FreeOSMemory()
			returned = time.Now()
		}
	}
}

// growth is by how many percent a heap of which so much is alive may grow.
func growth(live uint64, bytes int64) int {
	return int(min(max(float64(bytes)*100/float64(max(live, 1)), leastGC), defaultGC))
}

// storeGrowth is by how many bytes the heap of a process that stores, and does not detect, may
// grow between two collections. It holds some 300 MB while it catches up.
const storeGrowth = 128 << 20

// heapGrowth is the same for a process of these roles; 0: as Go would let it.
func heapGrowth(cfg Config, roles []Role) int64 {
	switch {
	case slices.Contains(roles, Detect):
		return cfg.Detect.HeapGrowth
	case slices.Contains(roles, Store):
		return storeGrowth
	}
	return 0
}
