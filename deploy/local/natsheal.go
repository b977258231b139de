package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// healInterval is how often the server is asked how it is.
const healInterval = time.Second

// patience is at how many looks in a row the same has to be wrong before JetStream is
// opened again, and maxPatience the most after opening it did not help.
const (
	patience    = 5
	maxPatience = 300
)

// heal opens JetStream again after a write failed, as on a full disk. A stream
// of which one write failed refuses all others, with or without room, until it is
// opened again; or JetStream as a whole is off. Clients stay connected meanwhile,
// and what was acknowledged is on disk.
func heal(ctx context.Context, s *server.Server, storeDir string, log *slog.Logger) {
	tick := time.NewTicker(healInterval)
	defer tick.Stop()
	a := ailment{patience: patience}
	for said := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !a.look(s.Healthz(nil)) {
			continue
		}
		err := writable(storeDir)
		if err == nil {
			err = reopen(s, storeDir)
		}
		switch {
		case err == nil:
			log.Warn("jetstream opened again", "after", a.reason)
			a.treated()
			said = ""
		case a.reason != said:
			log.Error("jetstream cannot store", "reason", a.reason, "err", err)
			said = a.reason
		}
	}
}

// An ailment is what is wrong with JetStream. A stream that is being made, or that could not be
// made for want of room, looks like one that could not be opened. To close JetStream would
// take the former from whoever makes it, and not help the latter.
type ailment struct {
	reason   string // empty when all is well
	looks    int    // in a row at which it was that
	patience int    // looks before something is done
}

// look notes how the server is, and reports whether JetStream is to be opened again.
func (a *ailment) look(h *server.HealthStatus) bool {
	switch {
	case h.Status == "ok":
		*a = ailment{patience: patience}
		return false
	case h.Status != "unavailable": // not JetStream, but that a busy server did not answer at once
		return false
	case h.Error != a.reason:
		a.reason, a.looks = h.Error, 0
	}
	a.looks++
	return a.looks >= a.patience
}

// treated has a wait longer, should it not have helped.
func (a *ailment) treated() { a.looks, a.patience = 0, min(2*a.patience, maxPatience) }

// writable is nil when something can be stored in dir: before that, opening it
// again would only fail again, and at a worse place.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, "room-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 1<<20))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

func reopen(s *server.Server, storeDir string) error {
	if err := s.ShutdownJetStream(); err != nil {
		return fmt.Errorf("close jetstream: %w", err)
	}
	if err := s.EnableJetStream(&server.JetStreamConfig{StoreDir: filepath.Clean(storeDir)}); err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	return nil
}
