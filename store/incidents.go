package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// IncidentFilter chooses incidents; an empty field chooses all.
type IncidentFilter struct {
	Agent string
	Open  bool      // those alone that nobody has closed
	Since time.Time // of the last finding's event
	Limit int       // 0: 100
}

const incidentsQuery = `SELECT raw FROM incidents FINAL
WHERE ({agent:String} = '' OR agent = {agent:String})
  AND (NOT {open:Bool} OR open = 1)
  AND last >= fromUnixTimestamp64Nano({since:Int64})
ORDER BY open DESC, severity DESC, last DESC, id LIMIT {limit:UInt32}`

// Incidents returns incidents: the open ones first, then the worst, then the latest.
func (s *Store) Incidents(ctx context.Context, f IncidentFilter) ([]command.Incident, error) {
	found, err := decoded[command.Incident](ctx, s, incidentsQuery, arg("agent", f.Agent), arg("open", fmt.Sprint(f.Open)), since(f.Since), limit(f.Limit))
	if err != nil {
		return nil, fmt.Errorf("query incidents: %w", err)
	}
	return found, nil
}

// An IncidentFile is all that is known of one incident.
type IncidentFile struct {
	Incident command.Incident  `json:"incident"`
	Findings []DisposedFinding `json:"findings"` // first to last
	Actions  []command.Outcome `json:"actions"`  // latest first
}

// A DisposedFinding is a finding with the first look at it. Of a finding that is
// not stored yet there is no more than its id.
type DisposedFinding struct {
	Finding     detect.Finding       `json:"finding"`
	Disposition *command.Disposition `json:"disposition"`
}

const (
	incidentQuery = `SELECT raw FROM incidents FINAL WHERE id = {id:String}`
	disposedQuery = `SELECT f.raw, d.raw FROM (SELECT * FROM dispositions FINAL WHERE incident = {id:String}) AS d
LEFT JOIN (SELECT id, raw, time FROM findings FINAL) AS f ON f.id = d.finding
ORDER BY f.time, d.finding LIMIT 1000`
)

// Incident returns all that is known of one incident, and false where there is none.
func (s *Store) Incident(ctx context.Context, id string) (IncidentFile, bool, error) {
	found, err := decoded[command.Incident](ctx, s, incidentQuery, arg("id", id))
	if err != nil || len(found) == 0 {
		if err != nil {
			err = fmt.Errorf("query incident %s: %w", id, err)
		}
		return IncidentFile{}, false, err
	}
	file := IncidentFile{Incident: found[0], Findings: []DisposedFinding{}}
	rows, err := s.conn.Query(ctx, disposedQuery, arg("id", id))
	if err != nil {
		return file, false, fmt.Errorf("query findings of %s: %w", id, err)
	}
	err = each(rows, func() error {
		var finding, disposition string
		if err := rows.Scan(&finding, &disposition); err != nil {
			return err
		}
		var d DisposedFinding
		if err := json.Unmarshal([]byte(disposition), &d.Disposition); err != nil {
			return err
		}
		if d.Finding.ID = d.Disposition.Finding; finding != "" {
			if err := json.Unmarshal([]byte(finding), &d.Finding); err != nil {
				return err
			}
		}
		file.Findings = append(file.Findings, d)
		return nil
	})
	if err != nil {
		return file, false, fmt.Errorf("query findings of %s: %w", id, err)
	}
	file.Actions, err = s.Actions(ctx, ActionFilter{Incident: id, Limit: 1000})
	return file, true, err
}

// Coverage is how much of what was found on a day was looked at.
type Coverage struct {
	Day      string  `json:"day"`
	Findings uint64  `json:"findings"`
	Disposed uint64  `json:"disposed"`
	Share    float64 `json:"share"`
}

const coverageQuery = `SELECT toString(day), findings, disposed, share FROM coverage ORDER BY day DESC LIMIT {limit:UInt32}`

// Coverage returns how much of each day's findings was looked at, latest first.
func (s *Store) Coverage(ctx context.Context, days int) ([]Coverage, error) {
	rows, err := s.conn.Query(ctx, coverageQuery, limit(days))
	if err != nil {
		return nil, fmt.Errorf("query coverage: %w", err)
	}
	var all []Coverage
	err = each(rows, func() error {
		var c Coverage
		if err := rows.Scan(&c.Day, &c.Findings, &c.Disposed, &c.Share); err != nil {
			return err
		}
		all = append(all, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("query coverage: %w", err)
	}
	return all, nil
}
