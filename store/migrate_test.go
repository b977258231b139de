package store

import (
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (s *Store) mustExec(t testing.TB, sql string) {
	t.Helper()
	if err := s.conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestMigrate(t *testing.T) {
	s := open(t, testConfig(engine(t)))
	all, err := migrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	versions := func() int {
		t.Helper()
		applied, err := s.applied(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(applied)
	}

	t.Run("two at once", func(t *testing.T) {
		other := open(t, s.cfg)
		var wg sync.WaitGroup
		for _, s := range []*Store{s, other, s, other} {
			wg.Go(func() {
				if err := s.Migrate(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := versions(); got != len(all) {
			t.Errorf("%d versions applied, want %d", got, len(all))
		}
	})
	t.Run("again", func(t *testing.T) {
		if err := s.Migrate(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("after a crash between statement and record", func(t *testing.T) {
		s.mustExec(t, "TRUNCATE TABLE schema_migrations")
		if err := s.Migrate(t.Context()); err != nil {
			t.Error(err)
		}
		if got := versions(); got != len(all) {
			t.Errorf("%d versions applied, want %d", got, len(all))
		}
	})
	t.Run("retention", func(t *testing.T) {
		engine := func(table string) (engine string) {
			t.Helper()
			row := s.conn.QueryRow(t.Context(), "SELECT engine_full FROM system.tables WHERE database = 'stakeout' AND name = {name:String}", arg("name", table))
			if err := row.Scan(&engine); err != nil {
				t.Fatal(err)
			}
			return engine
		}
		if got := engine("events"); !hasClause(got, "TTL toDateTime(ingested) + toIntervalDay(30)") || !strings.Contains(got, "PARTITION BY toDate(ingested)") {
			t.Errorf("events: %s; want 30 days from ingest, partitioned by day", got)
		}
		if got := engine("profiles"); strings.Contains(got, "TTL") {
			t.Errorf("profiles: %s; want no TTL", got)
		}
		s.cfg.Retention.Events, s.cfg.Retention.Findings = 3, 0
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := engine("events"); !hasClause(got, "TTL toDateTime(ingested) + toIntervalDay(3)") {
			t.Errorf("events: %s; want 3 days", got)
		}
		if got := engine("findings"); strings.Contains(got, "TTL") {
			t.Errorf("findings: %s; want no TTL any more", got)
		}
	})
	t.Run("another form", func(t *testing.T) {
		changed := append([]migration(nil), all...)
		changed[1].checksum = strings.Repeat("0", 64)
		err := s.migrate(t.Context(), changed)
		if err == nil || !strings.Contains(err.Error(), "version 2 (findings) was applied in another form") {
			t.Errorf("a changed file: %v, want a refusal", err)
		}
	})
	t.Run("newer database", func(t *testing.T) {
		err := s.migrate(t.Context(), all[:2])
		if err == nil || !strings.Contains(err.Error(), "use a newer stakeout") {
			t.Errorf("an older binary: %v, want a refusal", err)
		}
	})
	t.Run("next version", func(t *testing.T) {
		next := append(append([]migration(nil), all...), migration{uint32(len(all) + 1), "more", "x", []string{"ALTER TABLE events ADD COLUMN IF NOT EXISTS more UInt8"}})
		if err := s.migrate(t.Context(), next); err != nil {
			t.Error(err)
		}
		// A binary of the version before no longer starts, but what it wrote still comes in.
		if err := s.Migrate(t.Context()); err == nil {
			t.Error("an older binary: no refusal")
		}
		storeAll(t, s.OpenEvents, eventRecord(t, 1, "a", now))
	})
}

func TestMigrations(t *testing.T) {
	f := func(file, want string) {
		t.Helper()
		_, err := migrations(fstest.MapFS{"migrations/" + file: &fstest.MapFile{}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("migrations(%s): %v, want %q", file, err, want)
		}
	}
	f("0002_gap.sql", "want 0001_name.sql")
	f("first.sql", "want 0001_name.sql")
	f("0001.sql", "want 0001_name.sql")

	got := split("-- a;\nCREATE a (\n  x -- y\n);\n\n-- b\nCREATE b;\n")
	if diff := cmp.Diff(got, []string{"CREATE a (\n  x -- y\n)", "CREATE b"}); diff != "" {
		t.Error(diff)
	}
}

func TestOpenRefuses(t *testing.T) {
	e := engine(t)
	cfg := testConfig(e)
	cfg.URL = strings.Replace(cfg.URL, "stakeout:", "stakeout:x", 1)
	_, err := Open(t.Context(), cfg, nil, testLog(t))
	if err == nil || !strings.Contains(err.Error(), "Authentication failed") {
		t.Errorf("Open with a wrong password: %v", err)
	}
	cfg.URL = "http://127.0.0.1:1"
	began := time.Now()
	if _, err := Open(t.Context(), cfg, nil, testLog(t)); err == nil || err.Error() != "open store: clickhouse at 127.0.0.1:1: connection refused" || time.Since(began) > 5*time.Second {
		t.Errorf("Open without a server: %v after %s, want at once that nobody is there", err, time.Since(began))
	}
	cfg.URL = "clickhouse://127.0.0.1:1"
	if _, err := Open(t.Context(), cfg, nil, testLog(t)); err == nil || err.Error() != "open store: clickhouse at 127.0.0.1:1: connection refused" {
		t.Errorf("Open without a server, by the native protocol: %v", err)
	}
}
