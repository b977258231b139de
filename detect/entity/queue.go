package entity

import (
	"cmp"
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
	line  []place   // a heap: each is before the two behind twice its index
	held  []held[T] // by slot
	free  []uint32  // slots
	limit int
	came  uint64 // facts
	buf   []byte

	lately map[uint64]struct{} // fingerprints of the facts that came last
	order  []uint64            // of them, a ring
}

// held is a fact that waits, and what goes with it.
type held[T any] struct {
	fact detect.PackedFact
	with T
}

// A place is that of a fact among those which wait. It has no pointers, and little to move.
type place struct {
	at   event.Timestamp
	no   uint64
	slot uint32
}

// NewQueue returns a queue that holds so many facts at most, and knows as many
// when they come again.
func NewQueue[T any](limit int) *Queue[T] {
	return &Queue[T]{limit: limit, lately: map[uint64]struct{}{}}
}

// Add takes a fact in, and reports whether it is new: one that was told again, after
// a restart, is left out. What goes with it is kept; f and its strings are not.
func (q *Queue[T]) Add(f *detect.Fact, with T) bool {
	p := q.print(f)
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
	h := held[T]{with: with}
	h.fact, q.buf = f.Pack(q.buf)
	q.push(place{f.Place(), q.came, q.hold(h)})
	q.came++
	return true
}

// Next gives out the first fact, if its place is not after until or if one is too many.
func (q *Queue[T]) Next(until event.Timestamp) (f *detect.Fact, with T, ok bool) {
	if len(q.line) == 0 || len(q.line) <= q.limit && q.line[0].at > until {
		return nil, with, false
	}
	slot := q.pop().slot
	h := q.held[slot]
	q.held[slot] = held[T]{} // what it points to is to be freed
	q.free = append(q.free, slot)
	fact := h.fact.Unpack()
	return &fact, h.with, true
}

// Len is how many facts are held.
func (q *Queue[T]) Len() int { return len(q.line) }

// hold keeps a fact, and returns its slot.
func (q *Queue[T]) hold(h held[T]) (slot uint32) {
	if n := len(q.free); n > 0 {
		slot, q.free = q.free[n-1], q.free[:n-1]
		q.held[slot] = h
		return slot
	}
	q.held = append(q.held, h)
	return uint32(len(q.held) - 1)
}

// print is the fingerprint of what a fact says, of whom and when, and of whose word it is: who
// foresees the id of an event could have its true facts left out by telling them first.
func (q *Queue[T]) print(f *detect.Fact) uint64 {
	q.buf = q.buf[:0]
	for _, s := range [...]string{string(f.Kind), f.Tenant, f.Entity, f.Event, f.Source, f.Agent, f.Server, f.Tool, f.Hash, string(f.Deed), f.Delegate} {
		q.buf = append(append(q.buf, s...), 0)
	}
	return xxhash.Sum64(q.buf)
}

func (q *Queue[T]) before(a, b place) bool {
	if a.at != b.at {
		return a.at < b.at
	}
	return cmp.Or(strings.Compare(q.held[a.slot].fact.Agent(), q.held[b.slot].fact.Agent()), cmp.Compare(a.no, b.no)) < 0
}

// push adds a place to the heap.
func (q *Queue[T]) push(p place) {
	q.line = append(q.line, p)
	i := len(q.line) - 1
	for i > 0 && q.before(p, q.line[(i-1)/2]) {
		q.line[i] = q.line[(i-1)/2]
		i = (i - 1) / 2
	}
	q.line[i] = p
}

// pop takes the first place off the heap.
func (q *Queue[T]) pop() place {
	first, last := q.line[0], q.line[len(q.line)-1]
	q.line = q.line[:len(q.line)-1]
	i, n := 0, len(q.line)
	for 2*i+1 < n {
		next := 2*i + 1
		if next+1 < n && q.before(q.line[next+1], q.line[next]) {
			next++
		}
		if !q.before(q.line[next], last) {
			break
		}
		q.line[i] = q.line[next]
		i = next
	}
	if n > 0 {
		q.line[i] = last
	}
	return first
}
