package stream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	answerWindow = 10 * time.Second // how long one answer counts
	troubleGrace = 2 * time.Second  // a shorter trouble, as of a leader that moves, is none
	probeTimeout = 2 * time.Second
)

// health knows when a broker answered last and what keeps failing now.
type health struct {
	mu       sync.Mutex
	answered time.Time
	met      bool // a broker told about the cluster, at some time
	troubles map[string]trouble
}

type trouble struct {
	since time.Time
	err   error
	told  bool
}

func (h *health) answer() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answered = time.Now()
}

// fail notes that what failed. It returns true once per trouble, when that has
// become more than passing.
func (h *health) fail(what string, err error) (tell bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, was := h.troubles[what]
	if !was {
		t.since = time.Now()
	}
	t.err = err
	tell = !t.told && time.Since(t.since) >= troubleGrace
	t.told = t.told || tell
	if h.troubles == nil {
		h.troubles = map[string]trouble{}
	}
	h.troubles[what] = t
	return tell
}

// clear notes that what works again.
func (h *health) clear(what string) trouble {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.troubles[what]
	delete(h.troubles, what)
	return t
}

// worst is the oldest trouble that is more than passing.
func (h *health) worst() (what string, t trouble, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, v := range h.troubles {
		if time.Since(v.since) >= troubleGrace && (!ok || v.since.Before(t.since)) {
			what, t, ok = k, v, true
		}
	}
	return what, t, ok
}

func (h *health) fresh() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.answered) < answerWindow
}

func (h *health) meet() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.met = true
}

// silent reports whether no broker ever answered.
func (h *health) silent() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answered.IsZero() && !h.met
}

// Ready is nil when a broker answered within the last ten seconds and nothing
// has been failing for more than two. When nobody has asked the brokers
// anything lately, Ready does, and takes up to two seconds.
func (c *Client) Ready() error {
	if what, t, ok := c.health.worst(); ok {
		return fmt.Errorf("stream: failing since %s: %s: %w", t.since.Format(time.RFC3339), what, t.err)
	}
	if c.health.fresh() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	if _, err := c.kafka.ApiVersions(ctx, &kafka.ApiVersionsRequest{}); err != nil {
		return fmt.Errorf("stream: no broker answers: %w", c.advise(c.cause(ctx, err)))
	}
	c.health.answer()
	return nil
}

// backoff waits longer from try to try, with jitter, so that clients that lost
// the same broker do not come back in step.
type backoff struct{ tries int }

const (
	firstWait   = 50 * time.Millisecond
	longestWait = 2 * time.Second
)

// wait returns an error when ctx ends first.
func (b *backoff) wait(ctx context.Context) error {
	d := min(firstWait<<min(b.tries, 10), longestWait)
	b.tries++
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
