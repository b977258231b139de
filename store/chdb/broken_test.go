package chdb

import (
	"os"
	"path/filepath"
	"testing"
)

// TestUnreadablePart leaves a merged part as a full disk does, with empty marks:
// the rows are there again, out of the parts that it was merged from.
func TestUnreadablePart(t *testing.T) {
	e := start(t, t.TempDir())
	conn := connect(t, e, "")
	do(t, conn, "CREATE DATABASE d ENGINE = Atomic")
	do(t, conn, "CREATE TABLE d.t (a UInt64, b String) ENGINE = MergeTree ORDER BY a SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0")
	const parts, rows = 3, 10_000
	for range parts {
		do(t, conn, "INSERT INTO d.t SELECT number, toString(number) FROM numbers(10000)")
	}
	empty := func() {
		t.Helper()
		do(t, conn, "OPTIMIZE TABLE d.t FINAL")
		var dir string
		if err := conn.QueryRow(t.Context(), "SELECT path FROM system.parts WHERE database = 'd' AND table = 't' AND active ORDER BY name LIMIT 1").Scan(&dir); err != nil {
			t.Fatal(err)
		}
		marks, err := filepath.Glob(filepath.Join(dir, "*mrk*"))
		if err != nil || len(marks) == 0 {
			t.Fatalf("marks in %s: %v, %v", dir, marks, err)
		}
		for _, file := range marks {
			if err := os.Truncate(file, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	sum := func() (n uint64, err error) {
		var length uint64
		err = conn.QueryRow(t.Context(), "SELECT count(), sum(length(b)) FROM d.t").Scan(&n, &length)
		return n, err
	}

	empty()
	if n, err := sum(); err == nil {
		t.Fatalf("%d rows read of a part without marks", n)
	}
	eventually(t, "the table can be read", func() bool {
		n, err := sum()
		return err == nil && n == parts*rows
	})
	if got := e.Restarts(); got != 1 {
		t.Errorf("restarts = %d, want 1", got)
	}

	// Another one so soon is not mended, and does not keep the engine from all else.
	empty()
	for range 3 {
		if n, err := sum(); err == nil {
			t.Fatalf("%d rows read of a part without marks", n)
		}
	}
	do(t, conn, "CREATE TABLE d.other (a UInt64) ENGINE = MergeTree ORDER BY a")
	if got := e.Restarts(); got != 1 {
		t.Errorf("restarts = %d, want still 1", got)
	}
}
