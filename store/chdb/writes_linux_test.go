package chdb

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// short lets the engine's process write no file of more bytes than n, as a disk
// does that is full. The next process of the engine may again.
func short(t *testing.T, e *Engine, n uint64) {
	t.Helper()
	if err := unix.Prlimit(e.PID(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: n}, nil); err != nil {
		t.Fatal(err)
	}
}

// TestFailedWrites has writes fail in the middle of an insert and of a merge. The
// library says nothing of it: what is acknowledged has to be there all the same.
func TestFailedWrites(t *testing.T) {
	e := start(t, t.TempDir())
	conn := connect(t, e, "")
	do(t, conn, "CREATE DATABASE d ENGINE = Atomic")
	do(t, conn, "CREATE TABLE d.t (a UInt64, b String) ENGINE = ReplacingMergeTree ORDER BY a")
	const rows = 10_000
	insert := func(part string) error {
		return conn.Exec(t.Context(), "INSERT INTO d.t SELECT number, '"+part+"' || hex(sipHash128(number)) FROM numbers(10000) SETTINGS optimize_on_insert = 0")
	}
	sum := func() (n, length uint64, err error) {
		err = conn.QueryRow(t.Context(), "SELECT count(), sum(length(b)) FROM d.t").Scan(&n, &length)
		return n, length, err
	}
	if err := insert("a"); err != nil {
		t.Fatal(err)
	}

	short(t, e, 100_000)
	if err := insert("b"); err == nil || !strings.Contains(err.Error(), "NOT_ENOUGH_SPACE") {
		t.Fatalf("an insert with writes that failed: %v, want NOT_ENOUGH_SPACE", err)
	}
	eventually(t, "another engine", func() bool { return e.Restarts() == 1 && conn.Ping(t.Context()) == nil })
	if n, _, err := sum(); err != nil || n != rows {
		t.Fatalf("%d rows, %v; want the %d that were acknowledged", n, err, rows)
	}
	if err := insert("b"); err != nil {
		t.Fatal(err)
	}

	// The merge takes over a part that it has cut short. Whether the statement that
	// asked for it, or the watch, hears of it first, is left open.
	short(t, e, 100_000)
	if err := conn.Exec(t.Context(), "OPTIMIZE TABLE d.t FINAL"); err != nil && !strings.Contains(err.Error(), "NOT_ENOUGH_SPACE") {
		t.Fatal(err)
	}
	eventually(t, "the rows are there, as they were before the merge", func() bool {
		n, length, err := sum()
		return err == nil && e.Restarts() == 2 && n == 2*rows && length == n*33
	})
	do(t, conn, "OPTIMIZE TABLE d.t FINAL")
	if n, length, err := sum(); err != nil || n != rows || length != n*33 {
		t.Errorf("%d rows of %d bytes, %v; want %d, the last of each key", n, length, err, rows)
	}
	var aside uint64
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM system.detached_parts WHERE database = 'd'").Scan(&aside); err != nil || aside != 1 {
		t.Errorf("%d parts set aside, %v; want that of the insert: of the merged one nothing is missing", aside, err)
	}
}

// TestDefinitionNeedsRoom has nothing to do with how full the disk is: it holds
// which statements need room.
func TestDefinitionNeedsRoom(t *testing.T) {
	f := func(sql string, want bool) {
		t.Helper()
		if got := defining.MatchString(sql) && !dropping.MatchString(sql); got != want {
			t.Errorf("%s: needs room %t, want %t", sql, got, want)
		}
	}
	f("CREATE TABLE t (a UInt8) ENGINE = Null", true)
	f(" alter table t\nmodify TTL a", true)
	f("ALTER TABLE t DROP COLUMN a", true)
	f("ALTER TABLE t DROP PARTITION 'x'", false)
	f("ALTER TABLE t DROP DETACHED PART 'x'", false)
	f("DROP TABLE t", false)
	f("INSERT INTO t SELECT 1", false)
}
