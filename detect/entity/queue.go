package entity

import (
	"cmp"
	"container/heap"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Queue holds facts back until all that come before them have been told, and gives
// them out in one order, whatever the one in which they came: that of their places,
// and for the same place that of their agents. Facts of one agent for one place keep
// the order in which they came. Who fills it says until when all has been told, see
// [Cut]; what comes for an earlier place than that waits for the next time.
//
// It holds a bounded number of facts. Where one is too many, the first of all goes
// out: facts that come in another order by less than that number are still put in order.
type Queue[T any] struct {
	held  line[T]
	limit int
	came  uint64 // facts

	lately map[uint64]struct{} // fingerprints of the facts that came last
	order  []uint64            // of them, a ring
}

// waiting is a fact in a queue, and what goes with it.
type waiting[T any] struct {
	fact *detect.Fact
	with T
	at   event.Timestamp
	no   uint64
}

// NewQueue returns a queue that holds so many facts at most, and knows as many
// when they come again.
func NewQueue[T any](limit int) *Queue[T] {
	return &Queue[T]{limit: limit, lately: map[uint64]struct{}{}}
}

// Add takes a fact in, and reports whether it is new: one that was told again, after
// a restart, is left out. It is kept, with what goes with it.
func (q *Queue[T]) Add(f *detect.Fact, with T) bool {
	p := print(f)
	if _, again := q.lately[p]; again {
		return false
	}
	q.lately[p] = struct{}{}
	if len(q.order) < q.limit {
		q.order = append(q.order, p)
	} else {
		oldest := &q.order[q.came%uint64(len(q.order))]
		delete(q.lately, *oldest)
		*oldest = p
	}
	heap.Push(&q.held, waiting[T]{f, with, f.Place(), q.came})
	q.came++
	return true
}

// Next gives out the first fact, if its place is not after until or if one is too many.
func (q *Queue[T]) Next(until event.Timestamp) (f *detect.Fact, with T, ok bool) {
	if len(q.held) == 0 || len(q.held) <= q.limit && q.held[0].at > until {
		return nil, with, false
	}
	w := heap.Pop(&q.held).(waiting[T])
	return w.fact, w.with, true
}

// Len is how many facts are held.
func (q *Queue[T]) Len() int { return len(q.held) }

// print is the fingerprint of what a fact says, and of whom and when.
func print(f *detect.Fact) uint64 {
	return xxhash.Sum64String(strings.Join([]string{string(f.Kind), f.Tenant, f.Entity, f.Event, f.Agent, f.Server, f.Tool, f.Hash, string(f.Deed), f.Delegate}, "\x00"))
}

// line is the heap of a queue.
type line[T any] []waiting[T]

func (l line[T]) Len() int      { return len(l) }
func (l line[T]) Swap(i, j int) { l[i], l[j] = l[j], l[i] }

func (l line[T]) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(l[i].at, l[j].at), strings.Compare(l[i].fact.Agent, l[j].fact.Agent), cmp.Compare(l[i].no, l[j].no)) < 0
}

func (l *line[T]) Push(x any) { *l = append(*l, x.(waiting[T])) }

func (l *line[T]) Pop() any {
	last := len(*l) - 1
	w := (*l)[last]
	(*l)[last] = waiting[T]{} // what it points to is to be freed
	*l = (*l)[:last]
	return w
}
