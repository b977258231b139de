package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// IncidentFilter chooses incidents; an empty field chooses all. Those that became
// part of another one are in that one.
type IncidentFilter struct {
	Agent string    // one of those in it
	Open  bool      // those alone that nobody has closed
	Since time.Time // of the last finding's event
	Limit int       // 0: 100
}

const incidentsQuery = `SELECT raw FROM incidents FINAL
WHERE ({agent:String} = '' OR agent = {agent:String} OR has(agents, {agent:String}))
  AND into = ''
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
	Timeline []Moment          `json:"timeline"` // first to last
}

// A Moment is one thing that happened in an incident.
type Moment struct {
	Time  event.Timestamp `json:"time"`
	What  string          `json:"what"` // finding, action or decision
	Agent string          `json:"agent,omitempty"`
	Text  string          `json:"text"`
}

// A DisposedFinding is a finding with the first look at it. Of a finding that is
// not stored yet there is no more than its id.
type DisposedFinding struct {
	Finding     detect.Finding       `json:"finding"`
	Disposition *command.Disposition `json:"disposition"`
	Draft       *command.Draft       `json:"draft,omitempty"` // by a model, if there is one; unverified
}

const (
	incidentQuery = `SELECT raw FROM incidents FINAL WHERE id = {id:String}`
	disposedQuery = `SELECT f.raw, d.raw FROM (SELECT * FROM dispositions FINAL WHERE has(splitByChar(',', {ids:String}), incident)) AS d
LEFT JOIN (SELECT id, raw, time FROM findings FINAL) AS f ON f.id = d.finding
ORDER BY f.time, d.finding LIMIT 1000`
	draftsQuery = `SELECT raw FROM drafts FINAL WHERE has(splitByChar(',', {ids:String}), incident) ORDER BY finding LIMIT 1000`
	stepsQuery  = `SELECT agent, kind, status, detail, toUnixTimestamp64Nano(time) FROM action_history FINAL
WHERE id IN (SELECT id FROM actions FINAL WHERE has(splitByChar(',', {ids:String}), incident)) ORDER BY time, status LIMIT 1000`
)

// Incident returns all that is known of one incident and of those that became
// part of it, and false where there is none.
func (s *Store) Incident(ctx context.Context, id string) (IncidentFile, bool, error) {
	found, err := decoded[command.Incident](ctx, s, incidentQuery, arg("id", id))
	if err != nil || len(found) == 0 {
		if err != nil {
			err = fmt.Errorf("query incident %s: %w", id, err)
		}
		return IncidentFile{}, false, err
	}
	file := IncidentFile{Incident: found[0], Findings: []DisposedFinding{}}
	ids := append([]string{id}, found[0].Merged...)
	if file.Findings, err = s.disposed(ctx, ids); err != nil {
		return file, false, fmt.Errorf("query findings of %s: %w", id, err)
	}
	if file.Timeline, err = s.steps(ctx, ids); err != nil {
		return file, false, fmt.Errorf("query steps of %s: %w", id, err)
	}
	for _, i := range ids {
		actions, err := s.Actions(ctx, ActionFilter{Incident: i, Limit: 1000})
		if err != nil {
			return file, false, err
		}
		file.Actions = append(file.Actions, actions...)
	}
	slices.SortStableFunc(file.Actions, func(a, b command.Outcome) int { return cmp.Compare(b.Time, a.Time) })
	file.tell()
	return file, true, nil
}

// disposed returns the findings of incidents, first to last.
func (s *Store) disposed(ctx context.Context, ids []string) ([]DisposedFinding, error) {
	rows, err := s.conn.Query(ctx, disposedQuery, arg("ids", strings.Join(ids, ",")))
	if err != nil {
		return nil, err
	}
	all := []DisposedFinding{}
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
		all = append(all, d)
		return nil
	})
	return all, errors.Join(err, s.drafted(ctx, ids, all))
}

// drafted adds what a model wrote to the findings of incidents.
func (s *Store) drafted(ctx context.Context, ids []string, all []DisposedFinding) error {
	drafts, err := decoded[command.Draft](ctx, s, draftsQuery, arg("ids", strings.Join(ids, ",")))
	for _, d := range drafts {
		if n := slices.IndexFunc(all, func(f DisposedFinding) bool { return f.Finding.ID == d.Finding }); n >= 0 {
			all[n].Draft = &d
		}
	}
	return err
}

// steps returns every step of every action of incidents, first to last.
func (s *Store) steps(ctx context.Context, ids []string) ([]Moment, error) {
	rows, err := s.conn.Query(ctx, stepsQuery, arg("ids", strings.Join(ids, ",")))
	if err != nil {
		return nil, err
	}
	all := []Moment{}
	err = each(rows, func() error {
		m := Moment{What: "action"}
		var kind, status, detail string
		if err := rows.Scan(&m.Agent, &kind, &status, &detail, (*int64)(&m.Time)); err != nil {
			return err
		}
		if m.Text = kind + " " + status; detail != "" {
			m.Text += ": " + detail
		}
		all = append(all, m)
		return nil
	})
	return all, err
}

// tell puts findings and decisions among the steps of the timeline.
func (f *IncidentFile) tell() {
	for _, d := range f.Findings {
		if d.Finding.Time != 0 {
			f.Timeline = append(f.Timeline, Moment{d.Finding.Time, "finding", d.Finding.Agent, d.Finding.Detector + ": " + d.Finding.Reason})
		}
	}
	i := f.Incident
	switch {
	case i.Turned == 0:
	case i.Open:
		f.Timeline = append(f.Timeline, Moment{Time: i.Turned, What: "decision", Text: "reopened: " + i.Why})
	default:
		f.Timeline = append(f.Timeline, Moment{Time: i.Turned, What: "decision", Text: "closed as " + string(i.Verdict) + ": " + i.Why})
	}
	slices.SortStableFunc(f.Timeline, func(a, b Moment) int { return cmp.Compare(a.Time, b.Time) })
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
