package store

import (
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// TestCanariesCountNowhere stores what a canary leaves behind beside what an agent does.
func TestCanariesCountNowhere(t *testing.T) {
	s, _ := migrated(t)
	storeAll(t, s.OpenProfiles, profileRecord(t, "clerk", 1, 7, now), profileRecord(t, "canary-1", 2, 7, now))
	storeAll(t, s.OpenFindings, jsonRecord(t, "findings", 0, "clerk", findingOf("f1", "clerk", detect.High, now)), jsonRecord(t, "findings", 1, "canary-1", findingOf("f2", "canary-1", detect.High, now)))
	var rows []item[actionRow]
	for _, status := range []command.Status{command.Commanded, command.Verified} {
		o := outcomeOf("c1", "canary-1", status, now.Add(time.Second))
		o.Action.Kind = command.Canary
		rows = append(rows, item[actionRow]{row: actionRow{Outcome: o, ingested: now, raw: "{}"}})
	}
	for _, table := range []table[actionRow]{s.actions.t, s.history.t} {
		if err := table.insert(t.Context(), s.conn, rows); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := s.Coverage(t.Context(), 10); err != nil || len(c) != 1 || c[0].Findings != 1 {
		t.Errorf("coverage is %+v, %v; want the one finding about the clerk", c, err)
	}
	if d, err := s.Dwell(t.Context(), DwellFilter{}); err != nil || d[0].Count+d[3].Count != 0 {
		t.Errorf("dwell is %+v, %v; want none", d, err)
	}
	if a, err := s.Agents(t.Context(), AgentFilter{}); err != nil || len(a) != 1 || a[0].Agent != "clerk" {
		t.Errorf("agents are %+v, %v; want the clerk", a, err)
	}
	if f, err := s.Findings(t.Context(), FindingFilter{}); err != nil || len(f) != 1 || f[0].ID != "f1" {
		t.Errorf("findings are %+v, %v; want that about the clerk", f, err)
	}
	if f, err := s.Findings(t.Context(), FindingFilter{Agent: "canary-1"}); err != nil || len(f) != 1 {
		t.Errorf("the canary's own finding is not shown when asked for: %+v, %v", f, err)
	}
}
