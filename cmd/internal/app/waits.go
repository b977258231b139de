package app

import (
	"slices"
	"sync"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// waits are the facts that wait until they can be judged, by partition of the facts.
// Its zero value is empty. Several goroutines use it: those who own the partitions,
// and who makes the cuts.
type waits struct {
	mu  sync.Mutex
	all map[int][]waiting
}

// waiting are facts that came together.
type waiting struct {
	came  time.Time       // to us
	taken time.Time       // when the broker took the last of the raw lines that they are from
	until event.Timestamp // the latest of their places
}

// maxWaits is how many entries a partition has: those that came last are joined then.
const maxWaits = 1000

func (w *waits) add(partition int, f waiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[int][]waiting{}
	}
	all := w.all[partition]
	if len(all) >= maxWaits {
		all[len(all)-1].join(f)
		return
	}
	w.all[partition] = append(all, f)
}

func (f *waiting) join(g waiting) {
	if f.came.IsZero() {
		f.came = g.came
	}
	if g.taken.After(f.taken) {
		f.taken = g.taken
	}
	f.until = max(f.until, g.until)
}

// drop forgets a partition that somebody else may own now.
func (w *waits) drop(partition int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, partition)
}

// any reports whether facts wait whose lines were taken before a time.
func (w *waits) any(before time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range w.all {
		for _, f := range all {
			if f.taken.Before(before) {
				return true
			}
		}
	}
	return false
}

// take removes the facts whose lines were taken before a time, those of a partition joined.
func (w *waits) take(before time.Time) map[int]waiting {
	w.mu.Lock()
	defer w.mu.Unlock()
	due := map[int]waiting{}
	for p, all := range w.all {
		w.all[p] = slices.DeleteFunc(all, func(f waiting) bool {
			if !f.taken.Before(before) {
				return false
			}
			d := due[p]
			d.join(f)
			due[p] = d
			return true
		})
		if len(w.all[p]) == 0 {
			delete(w.all, p)
		}
	}
	return due
}
