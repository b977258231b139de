package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// writer gathers the rows of one table into batches and stores them, in the
// order in which they came.
type writer[T any] struct {
	s       *Store
	t       table[T]
	stopped <-chan struct{}
	wake    chan struct{} // tells run that there is something to look at

	mu      sync.Mutex
	rows    []item[T]     // not taken into a batch yet
	spare   []item[T]     // memory of an earlier batch
	bytes   int           // of rows
	since   time.Time     // when the first of rows came, or earlier
	taken   int           // rows in the batch under way
	taking  int           // bytes of it
	taken0  time.Time     // when the first of it came
	added   uint64        // rows ever added
	acked   uint64        // of these, acknowledged or refused
	urgent  uint64        // a checkpoint waits for this many
	changed chan struct{} // closed and replaced when acked or the room changes
	failed  error         // of the last attempt, nil after a good one
}

// A queue may hold this many batches, the one under way included, and a batch
// that catches up may be as large as two.
const (
	queueBatches   = 4
	catchupBatches = 2
)

const (
	firstRetryWait = 100 * time.Millisecond
	lastRetryWait  = 15 * time.Second
)

var errClosed = errors.New("the store is closed")

func startWriter[T any](ctx context.Context, s *Store, t table[T]) *writer[T] {
	w := &writer[T]{s: s, t: t, stopped: ctx.Done(), wake: make(chan struct{}, 1), changed: make(chan struct{})}
	s.queues = append(s.queues, w)
	s.metrics.expect(t.name)
	s.writers.Go(func() { w.run(ctx) })
	return w
}

// add queues rows and returns the number to hand to [writer.flush] for them. It
// waits while the queue is full.
func (w *writer[T]) add(ctx context.Context, rows []item[T]) (mark uint64, err error) {
	for {
		w.mu.Lock()
		n := 0
		for n < len(rows) && w.room() {
			if len(w.rows) == 0 {
				w.since = time.Now()
			}
			w.rows = append(w.rows, rows[n])
			w.bytes += rows[n].size
			n++
		}
		w.added += uint64(n)
		mark = w.added
		changed, full := w.changed, w.full()
		w.mu.Unlock()
		if full || n > 0 {
			w.nudge()
		}
		if rows = rows[n:]; len(rows) == 0 {
			return mark, nil
		}
		if err := w.wait(ctx, changed); err != nil {
			return 0, err
		}
	}
}

// room tells whether one more row may come in; w.mu is held. One row has room in
// an empty queue, however large it is.
func (w *writer[T]) room() bool {
	n := len(w.rows) + w.taken
	return n == 0 || n < queueBatches*w.s.cfg.BatchRows && w.bytes+w.taking < queueBatches*w.s.cfg.BatchBytes
}

// full tells whether the rows make a batch; w.mu is held.
func (w *writer[T]) full() bool {
	return len(w.rows) >= w.s.cfg.BatchRows || w.bytes >= w.s.cfg.BatchBytes
}

// flush returns when all rows up to mark are acknowledged.
func (w *writer[T]) flush(ctx context.Context, mark uint64) error {
	for {
		w.mu.Lock()
		done, changed := w.acked >= mark, w.changed
		w.urgent = max(w.urgent, mark)
		w.mu.Unlock()
		if done {
			return nil
		}
		w.nudge()
		if err := w.wait(ctx, changed); err != nil {
			return err
		}
	}
}

func (w *writer[T]) wait(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.stopped:
		return errClosed
	}
}

func (w *writer[T]) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run stores batches until ctx ends.
func (w *writer[T]) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		batch, wait := w.take()
		if batch != nil {
			if w.store(ctx, batch) != nil {
				return // closed
			}
			clear(batch) // lets go of the rows' memory
			w.mu.Lock()
			w.spare = batch
			w.mu.Unlock()
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
	}
}

// take takes the next batch, or says how long to wait for one.
func (w *writer[T]) take() (batch []item[T], wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rows) == 0 {
		return nil, time.Hour
	}
	age := time.Since(w.since)
	if !w.full() && w.urgent <= w.acked && age < w.s.cfg.BatchAge {
		return nil, w.s.cfg.BatchAge - age
	}
	n, size := 0, 0
	for n < len(w.rows) && n < catchupBatches*w.s.cfg.BatchRows && size < catchupBatches*w.s.cfg.BatchBytes {
		size += w.rows[n].size
		n++
	}
	batch = w.rows[:n:n]
	w.rows = append(w.spare[:0], w.rows[n:]...)
	w.spare = nil
	w.bytes -= size
	w.taken, w.taking, w.taken0 = n, size, w.since
	return batch, 0
}

// store stores a batch, again and again until it is stored or ctx ends. Rows
// that ClickHouse does not take are found by halving and refused.
func (w *writer[T]) store(ctx context.Context, batch []item[T]) error {
	wait := firstRetryWait
	for again := false; ; again = true {
		err := w.insert(ctx, batch)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			w.done(batch)
			w.s.metrics.rows.WithLabelValues(w.t.name).Add(float64(len(batch)))
			w.s.metrics.batches.WithLabelValues(w.t.name).Inc()
			return nil
		}
		if permanent(err) {
			if half := len(batch) / 2; half > 0 {
				if err := w.store(ctx, batch[:half]); err != nil {
					return err
				}
				return w.store(ctx, batch[half:])
			}
			if !again { // a connection cut at the wrong place may look the same
				continue
			}
			src := batch[0].src
			w.s.refuse(Refused{Table: w.t.name, Topic: src.topic, Partition: src.partition, Offset: src.offset, Err: err})
			w.done(batch)
			return nil
		}
		w.fail(err)
		w.s.metrics.retries.WithLabelValues(w.t.name).Inc()
		w.s.log.Warn("batch not stored", "table", w.t.name, "rows", len(batch), "retry_in", wait, "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait/2 + rand.N(wait)): // so that many stores do not come back at once
		}
		wait = min(2*wait, lastRetryWait)
	}
}

// insert tries once.
func (w *writer[T]) insert(ctx context.Context, batch []item[T]) error {
	ctx, cancel := context.WithTimeout(ctx, w.s.cfg.Timeout)
	defer cancel()
	began := time.Now()
	err := w.s.cfg.advise(w.t.insert(ctx, w.s.conn, batch))
	w.s.metrics.seconds.WithLabelValues(w.t.name).Observe(time.Since(began).Seconds())
	return err
}

// done counts rows of the batch under way as dealt with.
func (w *writer[T]) done(rows []item[T]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = nil
	w.acked += uint64(len(rows))
	w.taken -= len(rows)
	for i := range rows {
		w.taking -= rows[i].size
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *writer[T]) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = err
}

// The methods of [queue].

func (w *writer[T]) table() string { return w.t.name }

func (w *writer[T]) failing() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

func (w *writer[T]) waiting() (rows int, oldest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.taken > 0:
		oldest = time.Since(w.taken0)
	case len(w.rows) > 0:
		oldest = time.Since(w.since)
	}
	return len(w.rows) + w.taken, oldest
}
