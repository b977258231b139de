package app

import (
	"context"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage/command"
)

// history asks ClickHouse for triage. It connects when it is first asked: triage
// starts, and goes on, without a store.
type history struct {
	cfg store.Config
	log *slog.Logger

	mu    sync.Mutex // held while connecting
	store *store.Store
}

func (h *history) ask(ctx context.Context, q command.Question) (command.Past, error) {
	s, err := h.connect(ctx)
	if err != nil {
		return command.Past{}, err
	}
	return s.Past(ctx, q)
}

func (h *history) connect(ctx context.Context) (*store.Store, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.store != nil {
		return h.store, nil
	}
	s, err := store.Open(ctx, h.cfg, prometheus.NewRegistry(), h.log) // it writes nothing, so its metrics say nothing
	if err != nil {
		return nil, err
	}
	h.store = s
	return s, nil
}

// close ends the connection, if there is one. Nobody asks any more.
func (h *history) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.store == nil {
		return nil
	}
	return h.store.Close()
}
