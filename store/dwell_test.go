package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// TestDwell has three actions take known times from anomaly to end; one of them
// is not verified, one is in shadow, and one lacks the first stamps.
func TestDwell(t *testing.T) {
	s, _ := migrated(t)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	var rows []item[actionRow]
	add := func(id string, status command.Status, mode command.Mode, ingested, found, at int) {
		o := outcomeOf(id, "clerk", status, now.Add(ms(at)))
		o.Action.Mode = mode
		if ingested > 0 {
			o.Action.Ingested, o.Action.Found = event.At(now.Add(ms(ingested))), event.At(now.Add(ms(found)))
		}
		rows = append(rows, item[actionRow]{row: actionRow{Outcome: o, ingested: now, raw: "{}"}})
	}
	add("a1", command.Commanded, command.Auto, 10, 20, 40)
	add("a1", command.Verified, command.Auto, 10, 20, 140)
	add("a2", command.Commanded, command.Auto, 30, 40, 100)
	add("a2", command.Undone, command.Auto, 30, 40, 500)
	add("a3", command.Commanded, command.Auto, 0, 0, 60)
	add("a3", command.Verified, command.Auto, 0, 0, 360)
	add("a4", command.Shadowed, command.Shadow, 10, 20, 40)
	if err := s.actions.t.insert(t.Context(), s.conn, rows); err != nil {
		t.Fatal(err)
	}
	if err := s.history.t.insert(t.Context(), s.conn, rows); err != nil {
		t.Fatal(err)
	}
	acted := caseRow{Case: caseOf("root", "", false, 1)} // the actions' own incident became part of it
	acted.Incident.Acknowledged, acted.Incident.Merged = event.At(now.Add(5*time.Second)), []string{"i1"}
	acted.incident = mustJSON(t, acted.Incident)
	if err := incidentsTable().insert(t.Context(), s.conn, []item[caseRow]{{row: acted}}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Dwell(t.Context(), DwellFilter{Agent: "clerk", Kind: string(command.RevokeToken)})
	if err != nil {
		t.Fatal(err)
	}
	want := []Stage{
		{From: "occurred", To: "ingested", Count: 2, P50: 20, P90: 28, P99: 29.8, Max: 30},
		{From: "ingested", To: "found", Count: 2, P50: 10, P90: 10, P99: 10, Max: 10},
		{From: "found", To: "commanded", Count: 2, P50: 40, P90: 56, P99: 59.6, Max: 60},
		{From: "commanded", To: "verified", Count: 2, P50: 200, P90: 280, P99: 298, Max: 300},
		{From: "occurred", To: "verified", Count: 2, P50: 250, P90: 338, P99: 357.8, Max: 360},
		{From: "occurred", To: "acknowledged", Count: 3, P50: 5000, P90: 5000, P99: 5000, Max: 5000},
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 })); d != "" {
		t.Error(d)
	}
	if got, err = s.Dwell(t.Context(), DwellFilter{Agent: "nobody"}); err != nil || got[5].Count != 0 || got[5].P99 != 0 {
		t.Errorf("of an agent without actions: %+v, %v", got, err)
	}
	if got, err = s.Dwell(t.Context(), DwellFilter{Since: now.Add(ms(90))}); err != nil || got[2].Count != 1 {
		t.Errorf("since the second command: %+v, %v", got, err)
	}
}
