package store

import (
	"errors"
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	var p patience
	at, no := now, errors.New("no broker")
	f := func(err error, want time.Duration) {
		t.Helper()
		if !p.ready(at) {
			t.Fatalf("not ready %s after the last try", p.wait)
		}
		p.note(at, err)
		if early := at.Add(want - 1); p.ready(early) != (want == 0) || !p.ready(at.Add(want)) {
			t.Errorf("tried again after %s, want %s", p.wait, want)
		}
		at = at.Add(want)
	}
	f(no, asideInterval)
	f(no, 2*asideInterval)
	f(no, 4*asideInterval)
	f(nil, 0)
	f(no, asideInterval)
	for range 10 {
		p.note(at, no)
	}
	at = at.Add(lastAsideWait)
	f(no, lastAsideWait)
}
