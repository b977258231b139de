package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// A courier brings messages to one HTTP receiver: again while the receiver is
// busy, at most as often as it wants, and not at all for a while after it was
// away for several of them.
type courier struct {
	name   string // of the receiver, in sentences
	client *http.Client
	waits  []time.Duration // before each try
	sick   breaker
}

func newCourier(name string, timeout time.Duration) *courier {
	return &courier{name: name, client: newClient(timeout),
		waits: []time.Duration{0, time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second}}
}

// A reply is what a receiver answered.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// deliver tries until the receiver has decided or the command expires. Each try
// makes its request anew. Accepted says which answers mean that the message has
// arrived, and refused why another one does not; it may be nil.
func (c *courier) deliver(ctx context.Context, request func(context.Context) (*http.Request, error), accepted func(reply) bool, refused func(reply) string) (command.Status, string) {
	if left, ok := c.sick.open(time.Now()); ok {
		return command.Failed, fmt.Sprintf("%s was away for several messages and is left alone for another %s", c.name, left.Round(time.Second))
	}
	why := ""
	var later time.Duration
	for _, wait := range c.waits {
		if !pause(ctx, max(wait, later)) {
			if why == "" {
				why = "the command expired before it could be delivered"
			}
			break
		}
		r, err := c.try(ctx, request)
		if err != nil {
			why, later = c.name+" gave no answer: "+reason(err), 0
			continue
		}
		switch {
		case accepted(r):
			c.sick.succeeded()
			return command.Verified, fmt.Sprintf("%s answered %d", c.name, r.status)
		case r.status == http.StatusRequestTimeout || r.status == http.StatusTooManyRequests || r.status >= 500:
			why, later = fmt.Sprintf("%s answered %d", c.name, r.status), retryAfter(r.header, time.Now(), 0)
		default:
			c.sick.succeeded() // it is there: it only does not want this one
			why = fmt.Sprintf("%s answered %d", c.name, r.status)
			if refused != nil {
				if text := refused(r); text != "" {
					why += ": " + text
				}
			}
			return command.Failed, why
		}
	}
	c.sick.failed(time.Now())
	return command.Failed, why
}

// ok is the usual way of saying that a message has arrived.
func ok(r reply) bool { return r.status >= 200 && r.status < 300 }

func (c *courier) try(ctx context.Context, request func(context.Context) (*http.Request, error)) (reply, error) {
	req, err := request(ctx)
	if err != nil {
		return reply{}, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	body, err := drain(resp)
	if err != nil && !errors.Is(err, errOversized) {
		return reply{}, err
	}
	return reply{resp.StatusCode, resp.Header, body}, nil
}

// post makes a request with a body and headers, given in pairs.
func post(ctx context.Context, url string, body []byte, headers ...string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req, nil
}

// A breaker opens after several deliveries in a row that came to nothing.
type breaker struct {
	mu    sync.Mutex
	fails int
	until time.Time
}

const (
	breakAfter = 3
	breakFor   = 30 * time.Second
)

// open reports whether the receiver is left alone, and for how long.
func (b *breaker) open(now time.Time) (time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.until.Sub(now)
	return left, left > 0
}

func (b *breaker) succeeded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fails, b.until = 0, time.Time{}
}

func (b *breaker) failed(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails++; b.fails >= breakAfter {
		b.until = now.Add(breakFor) // then one is tried, and decides
	}
}
