package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHealth(t *testing.T) {
	var h health
	state := errors.New("away")
	f := func(want map[string]string, ready bool) {
		t.Helper()
		parts, ok := h.status()
		if diff := cmp.Diff(want, parts); diff != "" || ok != ready {
			t.Errorf("ready is %t, want %t (-want +got):\n%s", ok, ready, diff)
		}
	}
	f(map[string]string{}, true)
	h.add("kafka", func() error { return nil })
	f(map[string]string{"kafka": "ok"}, true)
	h.add("nats", func() error { return state })
	f(map[string]string{"kafka": "ok", "nats": "away"}, false)
	state = nil
	f(map[string]string{"kafka": "ok", "nats": "ok"}, true)
	h.add("kafka", func() error { return errors.New("gone") }) // in place of the earlier
	f(map[string]string{"kafka": "gone", "nats": "ok"}, false)
}

func TestHealthWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h health
		begin := time.Now()
		h.add("store", func() error {
			if time.Since(begin) < time.Minute {
				return errors.New("not yet")
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := h.wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("wait = %v before it is ready", err)
		}
		if err := h.wait(t.Context()); err != nil || time.Since(begin) < time.Minute || time.Since(begin) > 61*time.Second {
			t.Errorf("wait = %v after %s", err, time.Since(begin))
		}
	})
}

// TestRolesNeed holds that a part which a role adds is one that it was said to
// need: readiness must not be told before.
func TestRolesNeed(t *testing.T) {
	seen := map[string]Role{}
	for _, r := range []Role{Ingest, Detect, Triage, Store, Executor} {
		for _, part := range r.needs() {
			if other, twice := seen[part]; twice {
				t.Errorf("%s and %s both wait for %s", r, other, part)
			}
			seen[part] = r
		}
	}
	if len(seen) != 4 {
		t.Errorf("the roles wait for %v", seen)
	}
}
