package triage

import (
	"sync"
	"time"
)

// A breaker keeps from asking whoever has not answered: after three failures in a row
// nobody asks for half a minute, and then one does.
type breaker struct {
	mu     sync.Mutex
	failed int
	until  time.Time
}

const (
	breakAfter = 3
	breakFor   = 30 * time.Second
)

func (b *breaker) allows(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed < breakAfter {
		return true
	}
	if now.Before(b.until) {
		return false
	}
	b.until = now.Add(breakFor) // for all but the one that tries
	return true
}

func (b *breaker) note(now time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ok {
		b.failed = 0
		return
	}
	if b.failed++; b.failed >= breakAfter {
		b.until = now.Add(breakFor)
	}
}
