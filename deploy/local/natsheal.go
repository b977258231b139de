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

// heal opens JetStream again after a write failed, as on a full disk. A stream
// of which one write failed refuses all others, with or without room, until it is
// opened again; or JetStream as a whole is off. Clients stay connected meanwhile,
// and what was acknowledged is on disk.
func heal(ctx context.Context, s *server.Server, storeDir string, log *slog.Logger) {
	tick := time.NewTicker(healInterval)
	defer tick.Stop()
	for said := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ill := s.Healthz(nil).Error
		if ill == "" {
			said = ""
			continue
		}
		err := writable(storeDir)
		if err == nil {
			err = reopen(s, storeDir)
		}
		switch {
		case err == nil:
			log.Warn("jetstream opened again", "after", ill)
		case ill != said:
			log.Error("jetstream cannot store", "reason", ill, "err", err)
			said = ill
		}
	}
}

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
