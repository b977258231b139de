package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAClockAheadIsStoredOnce ships the same lines twice, some of them of a clock that is
// far ahead: of these the two records have different times of the broker, which is the
// time that such an event is given.
func TestAClockAheadIsStoredOnce(t *testing.T) {
	engine(t)
	p := up(t, filepath.Join(t.TempDir(), "data"), nil)
	began := time.Now()
	line := func(id string, at time.Time) string {
		return fmt.Sprintf(`{"time":%q,"event.name":"heartbeat","gen_ai.agent.id":"hasty","event.id":%q}`, at.UTC().Format(time.RFC3339Nano), id)
	}
	lines := []string{
		line("next century", time.Date(2100, 1, 5, 9, 0, 0, 123456789, time.UTC)),
		line("in a year", began.AddDate(1, 0, 0)),
		line("just too far", began.Add(6*time.Minute)),
		line("right", began),
	}
	file := filepath.Join(t.TempDir(), "ahead.jsonl")
	check(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	for range 2 {
		if n := p.ship(file); n != len(lines) {
			t.Fatalf("ship acknowledged %d lines, want %d", n, len(lines))
		}
	}
	eventually(t, 30*time.Second, func() error {
		if n := p.metric("stakeout_store_rows_total", `table="events"`); n != 2*len(lines) {
			return fmt.Errorf("%d rows are stored, want %d", n, 2*len(lines))
		}
		return nil
	})
	p.stored(len(lines))
	if n := p.metric("stakeout_detect_events_total"); n != len(lines) {
		t.Errorf("%d events are judged, want %d", n, len(lines))
	}
	p.stop()
}
