package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// FindingFilter chooses findings; an empty field chooses all.
type FindingFilter struct {
	Agent       string
	Threat      string
	MinSeverity detect.Severity
	Since       time.Time // of the event judged
	Limit       int       // 0: 100
}

// ActionFilter chooses actions; an empty field chooses all.
type ActionFilter struct {
	Agent    string
	Incident string
	Status   command.Status
	Since    time.Time // of the latest outcome
	Limit    int       // 0: 100
}

// AgentFilter chooses agents; an empty field chooses all.
type AgentFilter struct {
	Agent  string
	Tenant string
	Role   string
	State  detect.State
	Limit  int // 0: 100
}

// RejectFilter chooses rejects; an empty field chooses all.
type RejectFilter struct {
	Topic string
	Field string
	Since time.Time
	Limit int // 0: 100
}

// An Agent is what is known of an agent and how often it was found out.
type Agent struct {
	detect.Summary
	Findings uint64          `json:"findings"`
	Worst    detect.Severity `json:"worst"`  // of its findings; 0 where there is none
	Latest   event.Timestamp `json:"latest"` // of its findings; 0 where there is none
	Risk     *command.Risk   `json:"risk"`   // when the last finding came; null where there is none
}

// Counts is how many different rows each table holds.
type Counts struct {
	Events, Findings, Actions, History, Profiles, Rejects uint64
}

const (
	defaultLimit = 100
	maxLimit     = 10_000
)

// arg is a named parameter of a query. Values travel beside the statement, never in it.
func arg(name, value string) any { return clickhouse.Named(name, value) }

func limit(n int) any {
	if n <= 0 {
		n = defaultLimit
	}
	return arg("limit", strconv.Itoa(min(n, maxLimit)))
}

func since(t time.Time) any { return arg("since", strconv.FormatInt(known(t).UnixNano(), 10)) }

const findingsQuery = `SELECT raw FROM findings FINAL
WHERE if({agent:String} = '', agent NOT IN (SELECT agent FROM canaries), agent = {agent:String})
  AND ({threat:String} = '' OR threat = {threat:String})
  AND severity >= {severity:UInt8}
  AND time >= fromUnixTimestamp64Nano({since:Int64})
ORDER BY time DESC, id LIMIT {limit:UInt32}`

// Findings returns findings, latest first.
func (s *Store) Findings(ctx context.Context, f FindingFilter) ([]detect.Finding, error) {
	found, err := decoded[detect.Finding](ctx, s, findingsQuery, arg("agent", f.Agent), arg("threat", f.Threat),
		arg("severity", strconv.Itoa(int(f.MinSeverity))), since(f.Since), limit(f.Limit))
	if err != nil {
		return nil, fmt.Errorf("query findings: %w", err)
	}
	return found, nil
}

const actionsQuery = `SELECT raw FROM actions FINAL
WHERE ({agent:String} = '' OR agent = {agent:String})
  AND ({incident:String} = '' OR incident = {incident:String})
  AND ({status:String} = '' OR status = {status:String})
  AND time >= fromUnixTimestamp64Nano({since:Int64})
ORDER BY time DESC, id LIMIT {limit:UInt32}`

// Actions returns how far actions have come, latest first.
func (s *Store) Actions(ctx context.Context, f ActionFilter) ([]command.Outcome, error) {
	found, err := decoded[command.Outcome](ctx, s, actionsQuery, arg("agent", f.Agent), arg("incident", f.Incident),
		arg("status", string(f.Status)), since(f.Since), limit(f.Limit))
	if err != nil {
		return nil, fmt.Errorf("query actions: %w", err)
	}
	return found, nil
}

const historyQuery = `SELECT status, detail, executor, toUnixTimestamp64Nano(time) FROM action_history FINAL
WHERE id = {id:String} ORDER BY time, status LIMIT 1000`

// History returns every step of one action, first to last. The outcomes hold no more of the action than its id.
func (s *Store) History(ctx context.Context, action string) ([]command.Outcome, error) {
	rows, err := s.conn.Query(ctx, historyQuery, arg("id", action))
	if err != nil {
		return nil, fmt.Errorf("query history of %s: %w", action, err)
	}
	var steps []command.Outcome
	err = each(rows, func() error {
		o := command.Outcome{Action: command.Action{ID: action}}
		steps = append(steps, o)
		last := &steps[len(steps)-1]
		return rows.Scan((*string)(&last.Status), &last.Detail, &last.Executor, (*int64)(&last.Time))
	})
	if err != nil {
		return nil, fmt.Errorf("query history of %s: %w", action, err)
	}
	return steps, nil
}

// The risk of an agent is told with the disposition of each finding about it.
const agentsQuery = `SELECT raw, findings, worst, toUnixTimestamp64Nano(latest_finding), risk FROM agents_latest
LEFT JOIN (
	SELECT f.agent AS agent, argMax(JSONExtractRaw(d.raw, 'risk'), f.time) AS risk
	FROM (SELECT id, agent, time FROM findings FINAL) AS f INNER JOIN (SELECT finding, raw FROM dispositions FINAL) AS d ON d.finding = f.id
	GROUP BY agent
) AS r USING agent
WHERE if({agent:String} = '', agent NOT IN (SELECT agent FROM canaries), agent = {agent:String})
  AND ({tenant:String} = '' OR tenant = {tenant:String})
  AND ({role:String} = '' OR role = {role:String})
  AND ({state:String} = '' OR multiIf(state = 'active' AND last < now64(9) - INTERVAL 30 DAY, 'stale', state) = {state:String})
ORDER BY worst DESC, findings DESC, agent LIMIT {limit:UInt32}`

// Agents returns agents, those with the worst findings first.
func (s *Store) Agents(ctx context.Context, f AgentFilter) ([]Agent, error) {
	rows, err := s.conn.Query(ctx, agentsQuery, arg("agent", f.Agent), arg("tenant", f.Tenant), arg("role", f.Role),
		arg("state", string(f.State)), limit(f.Limit))
	if err != nil {
		return nil, fmt.Errorf("query agents: %w", err)
	}
	var agents []Agent
	err = each(rows, func() error {
		var a Agent
		var raw, risk string
		var worst uint8
		if err := rows.Scan(&raw, &a.Findings, &worst, (*int64)(&a.Latest), &risk); err != nil {
			return err
		}
		if risk != "" {
			if err := json.Unmarshal([]byte(risk), &a.Risk); err != nil {
				return err
			}
		}
		a.Worst = detect.Severity(worst)
		if err := json.Unmarshal([]byte(raw), &a.Summary); err != nil {
			return err
		}
		a.Summary = a.At(event.At(time.Now()))
		agents = append(agents, a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("query agents: %w", err)
	}
	return agents, nil
}

const rejectsQuery = `SELECT topic, partition, offset, line, time, field, position, reason, size, sha256, lines, stack FROM rejects FINAL
WHERE ({topic:String} = '' OR topic = {topic:String})
  AND ({field:String} = '' OR field = {field:String})
  AND time >= fromUnixTimestamp64Nano({since:Int64})
ORDER BY time DESC, topic, partition, offset, line LIMIT {limit:UInt32}`

// Rejects returns lines that are no events, latest first.
func (s *Store) Rejects(ctx context.Context, f RejectFilter) ([]Reject, error) {
	rows, err := s.conn.Query(ctx, rejectsQuery, arg("topic", f.Topic), arg("field", f.Field), since(f.Since), limit(f.Limit))
	if err != nil {
		return nil, fmt.Errorf("query rejects: %w", err)
	}
	var rejects []Reject
	err = each(rows, func() error {
		var r Reject
		var partition, line, lines uint32
		var position int64
		var size uint64
		if err := rows.Scan(&r.Topic, &partition, &r.Offset, &line, &r.Time, &r.Field, &position, &r.Reason, &size, &r.SHA256, &lines, &r.Stack); err != nil {
			return err
		}
		r.Partition, r.Line, r.Position, r.Size, r.Lines = int(partition), int(line), int(position), int(size), int(lines)
		rejects = append(rejects, r)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("query rejects: %w", err)
	}
	return rejects, nil
}

const countsQuery = `SELECT
	(SELECT count() FROM events FINAL), (SELECT count() FROM findings FINAL), (SELECT count() FROM actions FINAL),
	(SELECT count() FROM action_history FINAL), (SELECT count() FROM profiles FINAL), (SELECT count() FROM rejects FINAL)`

// Counts returns how many different rows each table holds.
func (s *Store) Counts(ctx context.Context) (Counts, error) {
	var c Counts
	if err := s.conn.QueryRow(ctx, countsQuery).Scan(&c.Events, &c.Findings, &c.Actions, &c.History, &c.Profiles, &c.Rejects); err != nil {
		return Counts{}, fmt.Errorf("count rows: %w", err)
	}
	return c, nil
}

// decoded runs a query for one column of JSON.
func decoded[T any](ctx context.Context, s *Store, query string, args ...any) ([]T, error) {
	rows, err := s.conn.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	var out []T
	err = each(rows, func() error {
		var raw string
		if err := rows.Scan(&raw); err != nil {
			return err
		}
		var v T
		if err := json.Unmarshal([]byte(raw), &v); err != nil {
			return err
		}
		out = append(out, v)
		return nil
	})
	return out, err
}
