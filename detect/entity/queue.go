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
type Queue struct {
	line  []held // a heap: each is before the two behind twice its index
	limit int
	came  uint64 // facts
	pages *detect.FactPages
	fact  detect.Fact // given out last
	buf   []byte

	lately map[uint64]struct{} // fingerprints of the facts that came last
	order  []uint64            // of them, a ring
}

// held is a fact that waits, and its place.
type held struct {
	at   event.Timestamp
	no   uint64
	fact detect.PackedFact
}

// NewQueue returns a queue that holds so many facts at most, and knows as many
// when they come again.
func NewQueue(limit int) *Queue {
	return &Queue{limit: limit, pages: &detect.FactPages{}, lately: map[uint64]struct{}{}}
}

// Add takes a fact in, and what goes with it, and reports whether it is new: one that
// was told again, after a restart, is left out. Neither f nor its strings are kept.
func (q *Queue) Add(f *detect.Fact, with []byte) bool {
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
	q.push(held{f.Place(), q.came, q.pages.Keep(f, with)})
	q.came++
	q.tidy()
	return true
}

// Next gives out the first fact and what goes with it, if its place is not after until or
// if one is too many. The fact is valid until the next call.
func (q *Queue) Next(until event.Timestamp) (f *detect.Fact, with string, ok bool) {
	if len(q.line) == 0 || len(q.line) <= q.limit && q.line[0].at > until {
		return nil, "", false
	}
	h := q.pop()
	q.pages.Drop(h.fact)
	q.tidy()
	q.fact, with = h.fact.Unpack()
	return &q.fact, with, true
}

// Len is how many facts are held.
func (q *Queue) Len() int { return len(q.line) }

// tidy moves what is held to other pages, where most of what came with it is given out, and
// gives back the room of a line that has become short.
func (q *Queue) tidy() {
	if q.pages.Sparse() {
		pages := &detect.FactPages{}
		for i := range q.line {
			fact, with := q.line[i].fact.Unpack()
			q.line[i].fact = pages.Keep(&fact, []byte(with))
		}
		q.pages = pages
	}
	if cap(q.line) > shortLine && len(q.line) < cap(q.line)/4 {
		q.line = append(make([]held, 0, cap(q.line)/2), q.line...)
	}
}

// shortLine is a line whose room is not worth giving back.
const shortLine = 1024

// print is the fingerprint of what a fact says, of whom and when, and of whose word it is: who
// foresees the id of an event could have its true facts left out by telling them first.
func (q *Queue) print(f *detect.Fact) uint64 {
	q.buf = q.buf[:0]
	for _, s := range [...]string{string(f.Kind), f.Tenant, f.Entity, f.Event, f.Source, f.Agent, f.Server, f.Tool, f.Hash, string(f.Deed), f.Delegate} {
		q.buf = append(append(q.buf, s...), 0)
	}
	return xxhash.Sum64(q.buf)
}

func (h held) before(other held) bool {
	if h.at != other.at {
		return h.at < other.at
	}
	agent, _, _ := h.fact.Told()
	others, _, _ := other.fact.Told()
	return cmp.Or(strings.Compare(agent, others), cmp.Compare(h.no, other.no)) < 0
}

// push adds to the heap.
func (q *Queue) push(h held) {
	q.line = append(q.line, h)
	i := len(q.line) - 1
	for i > 0 && h.before(q.line[(i-1)/2]) {
		q.line[i] = q.line[(i-1)/2]
		i = (i - 1) / 2
	}
	q.line[i] = h
}

// pop takes the first off the heap.
func (q *Queue) pop() held {
	first, last := q.line[0], q.line[len(q.line)-1]
	q.line[len(q.line)-1] = held{} // its page is to be freed
	q.line = q.line[:len(q.line)-1]
	i, n := 0, len(q.line)
	for 2*i+1 < n {
		next := 2*i + 1
		if next+1 < n && q.line[next+1].before(q.line[next]) {
			next++
		}
		if !q.line[next].before(last) {
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
