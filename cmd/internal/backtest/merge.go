package backtest

import (
	"container/heap"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// errUnordered ends the reading of files that are too far from the order of time.
var errUnordered = errors.New("not in order of time")

// disorder is how far behind the latest event one may be in a log that came from
// many machines.
const disorder = time.Hour

// inOrder is take while the events are about in the order of time, and before the
// end of the warm-up none comes behind it.
func inOrder(warmup time.Time, take taker) taker {
	var latest event.Timestamp
	return func(ev *event.Event, src event.Source, op detect.Operation) error {
		over := !latest.Time().Before(warmup) && ev.Time.Time().Before(warmup)
		if latest != 0 && (over || latest.Sub(ev.Time) > disorder) {
			return errUnordered
		}
		latest = max(latest, ev.Time)
		return take(ev, src, op)
	}
}

// queue is what is left of the events of one agent, in the order in which they came.
type queue struct {
	next  event.Timestamp
	order int // of the agent's first event among those of all
	lines []queued
}

// queued is an event as it is kept, because an [event.Event] holds nothing of its own.
type queued struct {
	time event.Timestamp
	line string
}

// queues is a heap whose first has the earliest event.
type queues []*queue

func (q queues) Len() int { return len(q) }
func (q queues) Less(i, j int) bool {
	return q[i].next < q[j].next || q[i].next == q[j].next && q[i].order < q[j].order
}
func (q queues) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queues) Push(x any)   { *q = append(*q, x.(*queue)) }
func (q *queues) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// readMerged gives take the events of files, those of one agent in their order, and
// of several the earliest first. It holds all of them in memory.
func readMerged(ctx context.Context, cfg Config, progress func(int), take taker) (rejected, error) {
	agents := map[string]*queue{}
	var all queues
	no, err := read(ctx, cfg, progress, func(ev *event.Event, _ event.Source, _ detect.Operation) error {
		q := agents[ev.Agent]
		if q == nil {
			q = &queue{next: ev.Time, order: len(all)}
			agents[strings.Clone(ev.Agent)] = q
			all = append(all, q)
		}
		q.lines = append(q.lines, queued{ev.Time, string(ev.AppendJSON(nil))})
		return nil
	})
	if err != nil {
		return no, err
	}
	heap.Init(&all)
	var decoder event.Decoder
	var ev event.Event
	for n := 0; len(all) > 0; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return no, ctx.Err()
		}
		q := all[0]
		if err := decoder.Decode([]byte(q.lines[0].line), &ev); err != nil {
			return no, err
		}
		if err := take(&ev, event.Source{}, ""); err != nil {
			return no, err
		}
		if q.lines = q.lines[1:]; len(q.lines) == 0 {
			heap.Pop(&all)
			continue
		}
		q.next = q.lines[0].time
		heap.Fix(&all, 0)
	}
	return no, nil
}
