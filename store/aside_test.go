package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestPartsSetAside breaks a part while ClickHouse is down: it goes on without its
// rows, and the store says so.
func TestPartsSetAside(t *testing.T) {
	dir := t.TempDir()
	e := engineIn(t, dir)
	cfg := testConfig(e)
	s := open(t, cfg)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.conn.Exec(t.Context(), "INSERT INTO rejects (topic, time, ingested) VALUES ('stakeout.raw', now64(9), now64(3))"); err != nil {
		t.Fatal(err)
	}
	var part string
	if err := s.conn.QueryRow(t.Context(), "SELECT path FROM system.parts WHERE database = ? AND table = 'rejects' AND active", cfg.Database).Scan(&part); err != nil {
		t.Fatal(err)
	}
	if n := testutil.ToFloat64(s.metrics.aside); n != 0 {
		t.Errorf("%v parts set aside of a whole table", n)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(part, "checksums.txt"), 0); err != nil {
		t.Fatal(err)
	}

	s = open(t, testConfig(engineIn(t, dir)))
	end := time.Now().Add(10 * time.Second)
	for testutil.ToFloat64(s.metrics.aside) != 1 {
		if time.Now().After(end) {
			t.Fatalf("%v parts set aside, want 1", testutil.ToFloat64(s.metrics.aside))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if c := counts(t, s); c.Rejects != 0 {
		t.Errorf("%d rejects, want none: their part cannot be read", c.Rejects)
	}
}
