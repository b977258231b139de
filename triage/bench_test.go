package triage

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/triage/command"
)

// BenchmarkFinding is one finding of a new agent until its token is commanded to
// be revoked, and one that was seen before.
func BenchmarkFinding(b *testing.B) {
	w := newWorld(b)
	w.policy.Budgets[command.RevokeToken] = Budget{Max: 10, Per: time.Second}
	tr := w.triage()
	tr.log = w.quiet()
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n++
			w.ahead.Add(int64(time.Second)) // room in the budget
			w.must(w.feed(tr, w.finding(fmt.Sprint("agent-", b.N, "-", n), 1)))
		}
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		f := w.finding("again", 1)
		for b.Loop() {
			w.must(w.feed(tr, f))
		}
	})
}

// BenchmarkDwell is the time from a finding to the verified end of its token,
// through triage, NATS, an executor and an identity provider.
func BenchmarkDwell(b *testing.B) {
	w := newWorld(b)
	w.policy.Budgets[command.RevokeToken] = Budget{Max: maxBudget, Per: time.Second}
	tr := w.triage()
	tr.log = w.quiet()
	w.run(tr.Run)
	w.executors()
	verified := func() float64 {
		return testutil.ToFloat64(tr.metrics.actions.WithLabelValues(string(command.RevokeToken), string(command.Auto), string(command.Verified)))
	}
	n := 0
	for b.Loop() {
		n++
		agent := fmt.Sprint("agent-", n)
		w.issue("jti-" + agent)
		w.must(w.feed(tr, w.finding(agent, 1)))
		for end := time.Now().Add(10 * time.Second); verified() < float64(n); {
			if time.Now().After(end) {
				b.Fatal("not verified")
			}
			time.Sleep(100 * time.Microsecond) // between two looks
		}
	}
}
