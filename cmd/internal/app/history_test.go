package app

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/store/chdb/chdbtest"
	"github.com/stakeout-project/stakeout/triage/command"
)

// TestHistoryOutlivesClickHouse asks a ClickHouse that is not there yet, is there, is
// away again, and is back: nobody has to begin anew.
func TestHistoryOutlivesClickHouse(t *testing.T) {
	dir := t.TempDir()
	e := chdbtest.Start(t, dir, "127.0.0.1:0")
	addr := e.Addr()
	cfg := store.DefaultConfig()
	cfg.URL, cfg.User, cfg.PasswordFile = "http://"+addr, "stakeout", e.PasswordFile()
	s, err := store.Open(testContext(t), cfg, prometheus.NewRegistry(), testLog(t))
	check(t, err)
	check(t, s.Migrate(testContext(t)))
	check(t, s.Close())
	check(t, e.Close())

	h := &history{cfg: cfg, log: testLog(t)}
	ask := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := h.ask(ctx, command.Question{Finding: "f", Agent: "a", Evidence: []string{"e"}, Time: event.At(time.Now()), Window: time.Hour})
		return err
	}
	for round := range 2 {
		if err := ask(2 * time.Second); err == nil {
			t.Fatalf("round %d: a ClickHouse that is away has answered", round)
		}
		e = chdbtest.Start(t, dir, addr)
		if err := ask(30 * time.Second); err != nil {
			t.Errorf("round %d: a ClickHouse that is back does not answer: %v", round, err)
		}
		check(t, e.Close())
	}
	check(t, h.close())
}
