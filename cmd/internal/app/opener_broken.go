//go:build chaosbroken

package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/stakeout-project/stakeout/ingest/stream"
)

// opener breaks the checkpoint, so that tests can see that they would notice:
// offsets are committed a little before findings and profiles are acknowledged.
// While nothing fails the result is the same.
func opener(open stream.Opener) stream.Opener {
	return func(ctx context.Context, p stream.Owned) (stream.Processor, error) {
		proc, err := open(ctx, p)
		if err != nil {
			return nil, err
		}
		h := &hasty{proc: proc, queue: make(chan held, 10_000)}
		h.done.Go(h.work)
		return h, nil
	}
}

// A held is a batch that is put off.
type held struct {
	batch []stream.Record
	until time.Time
}

type hasty struct {
	proc  stream.Processor
	queue chan held
	done  sync.WaitGroup
	mu    sync.Mutex
	err   error
}

func (h *hasty) Process(_ context.Context, batch []stream.Record) error {
	later := held{make([]stream.Record, len(batch)), time.Now().Add(300 * time.Millisecond)}
	for i, r := range batch {
		r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
		r.Headers = nil
		for _, head := range batch[i].Headers {
			r.Headers = append(r.Headers, stream.Header{Key: head.Key, Value: bytes.Clone(head.Value)})
		}
		later.batch[i] = r
	}
	h.queue <- later
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// Checkpoint lies.
func (h *hasty) Checkpoint(context.Context) error { return nil }

func (h *hasty) work() {
	for later := range h.queue {
		time.Sleep(time.Until(later.until))
		err := errors.Join(h.proc.Process(context.Background(), later.batch), h.proc.Checkpoint(context.Background()))
		if err != nil {
			h.mu.Lock()
			h.err = err
			h.mu.Unlock()
		}
	}
}

func (h *hasty) Close() error {
	close(h.queue)
	h.done.Wait()
	if c, ok := h.proc.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
