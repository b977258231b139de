package detect

import (
	"fmt"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

func TestScopeFilterErrsAsSaid(t *testing.T) {
	for known, most := range map[int]float64{20: 1.0 / 12, 40: 1.0 / 4} {
		const trials = 2000
		wrong := 0
		for i := range trials {
			f := make(scopeFilter, scopeWords)
			if !f.none() {
				t.Fatal("an empty filter holds something")
			}
			for s := range known {
				f.add([]string{fmt.Sprintf("resource-%d-%d:read", i, s)})
			}
			for s := range known {
				if n, first := f.missing([]string{fmt.Sprintf("resource-%d-%d:read", i, s)}); n > 0 {
					t.Fatalf("%s is missing from a filter that it was added to", first)
				}
			}
			if n, _ := f.missing([]string{fmt.Sprintf("resource-%d:grant", i)}); n == 0 {
				wrong++
			}
		}
		rate := float64(wrong) / trials
		t.Logf("%d known: one in %.1f new scopes is taken for known", known, 1/rate)
		if rate > most {
			t.Errorf("%d known: %.3f of new scopes are taken for known, want at most %.3f", known, rate, most)
		}
	}
}

// TestLateIsLateForWhoNeverWas uses a credential a minute after its expiry, by agents
// that have shown more or less of their clocks.
func TestLateIsLateForWhoNeverWas(t *testing.T) {
	f := func(name string, uses int, late time.Duration, want int) {
		t.Helper()
		e := New(DefaultRules())
		found := 0
		for i := range uses + 1 {
			ev := use("a", i)
			ev.CredentialID, ev.CredentialExpires = "tok", ev.Time+event.Timestamp(time.Hour)
			if i < 20 {
				ev.CredentialExpires = ev.Time - event.Timestamp(late)
			}
			if i == uses {
				ev.CredentialExpires = ev.Time - event.Timestamp(time.Minute)
			}
			for _, f := range e.Observe(ev, int64(i), event.Source{}) {
				if f.Detector == "credential" {
					found++
				}
			}
		}
		if found != want {
			t.Errorf("%s: %d findings, want %d", name, found, want)
		}
	}
	f("never late", 800, -time.Hour, 1)
	f("never late, and not long known", 300, -time.Hour, 0)
	f("late by as much when it was new", 800, 50*time.Second, 0)
}
