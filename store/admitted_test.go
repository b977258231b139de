package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// aheadRecord is the record of an event whose clock was ahead of when it came.
func aheadRecord(offset int64, id string, claimed, came time.Time, rounded bool) stream.Record {
	ev := event.Event{Time: event.At(came), Name: event.Heartbeat, Agent: "hasty", ID: id}
	src := event.Source{Topic: "stakeout.raw", Offset: offset, Ahead: claimed.Sub(came), Rounded: rounded}
	r := recordOf(&ev, 0, offset, came)
	r.Headers = []stream.Header{{Key: event.SourceHeader, Value: src.AppendBinary(nil)}}
	return r
}

type admittedRow struct {
	ID             string
	Time, Admitted time.Time
}

func admittedRows(t *testing.T, s *Store) (all []admittedRow) {
	t.Helper()
	rows, err := s.conn.Query(t.Context(), "SELECT id, time, admitted FROM events FINAL ORDER BY id, admitted")
	if err != nil {
		t.Fatal(err)
	}
	err = each(rows, func() error {
		all = append(all, admittedRow{})
		r := &all[len(all)-1]
		return rows.Scan(&r.ID, &r.Time, &r.Admitted)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// An event whose clock was far ahead has the time of its record, and another one when it
// comes again: within a batch, after a restart, on another day.
func TestAheadIsOneRow(t *testing.T) {
	s, _ := migrated(t)
	far := time.Date(2200, 1, 1, 0, 0, 0, 123456789, time.UTC)
	storeAll(t, s.OpenEvents, aheadRecord(1, "a", far, now, false), aheadRecord(2, "a", far, now.Add(3*time.Millisecond), false), aheadRecord(3, "b", now.Add(time.Hour), now, false))
	storeAll(t, open(t, s.cfg).OpenEvents, aheadRecord(9, "a", far, now.Add(49*time.Hour), false))
	want := []admittedRow{{"a", far, now.Add(49 * time.Hour)}, {"b", now.Add(time.Hour), now}}
	if diff := cmp.Diff(want, admittedRows(t, s)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// What stores of the schema before have written, and what an ingest of the build before
// has sent, replaces itself.
func TestAheadOfTheSchemaBefore(t *testing.T) {
	s := open(t, testConfig(engine(t)))
	all, err := migrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.migrate(t.Context(), all[:10]); err != nil {
		t.Fatal(err)
	}
	before := eventsTable()
	before.columns = append(before.columns[:1:1], before.columns[2:]...)
	before.columns[0] = col("time", func(e *eventRow) time.Time { return e.Time.Time() })
	var d eventDecoder
	var rows []item[eventRow]
	for _, r := range []stream.Record{aheadRecord(1, "a", now.Add(time.Hour), now, true), aheadRecord(2, "b", now, now, true)} {
		row, _, err := d.decode(&r)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, item[eventRow]{row: row})
	}
	if err := before.insert(t.Context(), s.conn, rows); err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []admittedRow{{"a", now, now}, {"b", now, now}}
	if diff := cmp.Diff(want, admittedRows(t, s)); diff != "" {
		t.Errorf("events of before (-want +got):\n%s", diff)
	}
	if err := before.insert(t.Context(), s.conn, rows); err != nil { // a store of before that still runs
		t.Fatal(err)
	}
	storeAll(t, s.OpenEvents, aheadRecord(1, "a", now.Add(time.Hour), now, true), aheadRecord(2, "b", now, now, true))
	if diff := cmp.Diff(want, admittedRows(t, s)); diff != "" {
		t.Errorf("events of before, again (-want +got):\n%s", diff)
	}
}
