package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// What is asked about a finding before a person sees it. Every name travels as a
// parameter, and every answer has an order and a limit, so the same rows give the same answer.
// The time of an event, which stands in the key, is never before the one it was admitted
// at: what is asked from some time on is asked of both.
const (
	earlierQuery = `SELECT detector, count() FROM findings FINAL
WHERE agent = {agent:String} AND id != {finding:String} AND time < fromUnixTimestamp64Nano({at:Int64})
GROUP BY detector ORDER BY count() DESC, detector LIMIT 6`

	verdictsQuery = `SELECT verdict, count() FROM incidents FINAL
WHERE (agent = {agent:String} OR has(agents, {agent:String})) AND verdict != '' AND first < fromUnixTimestamp64Nano({at:Int64})
GROUP BY verdict ORDER BY count() DESC, verdict LIMIT 6`

	peersQuery = `SELECT uniqExact(agent), uniqExactIf(agent, same), uniqExactIf((agent, time, id), same) FROM (
	SELECT agent, time, id, tool = {tool:String} AND privilege = {privilege:String} AS same FROM events
	WHERE role = {role:String} AND tenant = {tenant:String} AND agent != {agent:String}
	  AND time >= fromUnixTimestamp64Nano({since:Int64}) AND admitted >= fromUnixTimestamp64Nano({since:Int64}) AND admitted < fromUnixTimestamp64Nano({at:Int64}))`

	evidenceQuery = `SELECT id, name, tool, effect, destination, toUnixTimestamp64Nano(admitted) FROM events
WHERE agent = {agent:String} AND has(JSONExtract({evidence:String}, 'Array(String)'), id) AND admitted <= fromUnixTimestamp64Nano({at:Int64})
ORDER BY admitted DESC, id LIMIT 1 BY id LIMIT 6`

	aroundQuery = `SELECT uniqExact(id), uniqExactIf(id, error_type != ''), arraySlice(arraySort(groupUniqArrayIf(toString(tool), tool != '')), 1, 6) FROM events
WHERE agent = {agent:String} AND time >= fromUnixTimestamp64Nano({near:Int64}) AND admitted >= fromUnixTimestamp64Nano({near:Int64}) AND admitted < fromUnixTimestamp64Nano({at:Int64})`

	metQuery = `SELECT toUnixTimestamp64Nano(min(admitted)), uniqExact(agent), uniqExact((agent, time, id)) FROM events
WHERE destination = {destination:String} AND time >= fromUnixTimestamp64Nano({since:Int64}) AND admitted >= fromUnixTimestamp64Nano({since:Int64}) AND admitted < fromUnixTimestamp64Nano({at:Int64})`
)

// near is how long before the event judged something is around it.
const near = 10 * time.Minute

// bounded keeps a question from taking much of the server: whoever waits for the
// answer has something better to do than to hold up the rows that come in.
var bounded = clickhouse.Settings{"max_threads": 1, "max_memory_usage": 1 << 29, "priority": 10}

// Past answers what is stored about the past of a finding: all of it, or an error.
func (s *Store) Past(ctx context.Context, q command.Question) (past command.Past, err error) {
	evidence, err := json.Marshal(q.Evidence)
	if err != nil {
		return past, fmt.Errorf("encode evidence of finding %s: %w", q.Finding, err)
	}
	at := func(t event.Timestamp) string { return strconv.FormatInt(int64(t), 10) }
	p := question{s, clickhouse.Context(ctx, clickhouse.WithSettings(bounded)), []any{
		arg("agent", q.Agent), arg("finding", q.Finding), arg("role", q.Role), arg("tenant", q.Tenant), arg("tool", q.Tool), arg("privilege", q.Privilege),
		arg("destination", q.Destination), arg("evidence", string(evidence)),
		arg("at", at(q.Time)), arg("since", at(q.Time-event.Timestamp(q.Window))), arg("near", at(q.Time-event.Timestamp(near))),
	}}
	for _, ask := range []func() error{
		func() (err error) { past.Findings, err = p.tally(earlierQuery); return err },
		func() (err error) { past.Verdicts, err = p.tally(verdictsQuery); return err },
		func() (err error) { past.Rests, err = p.stored(evidenceQuery); return err },
		func() error { return p.row(aroundQuery, &past.Around.Events, &past.Around.Failed, &past.Around.Tools) },
		func() error {
			if q.Role == "" || q.Tool == "" && q.Privilege == "" {
				return nil
			}
			return p.row(peersQuery, &past.Peers, &past.Alike, &past.Likened)
		},
		func() error {
			if q.Destination == "" {
				return nil
			}
			return p.row(metQuery, (*int64)(&past.Met), &past.MetAgents, &past.MetContact)
		},
	} {
		if err := ask(); err != nil {
			return command.Past{}, fmt.Errorf("query past of finding %s: %w", q.Finding, err)
		}
	}
	return past, nil
}

// question is what all queries about one finding have in common.
type question struct {
	s    *Store
	ctx  context.Context
	args []any
}

// row reads the one row of an answer.
func (q question) row(query string, into ...any) error {
	return q.s.conn.QueryRow(q.ctx, query, q.args...).Scan(into...)
}

func (q question) tally(query string) (all []command.Tally, err error) {
	rows, err := q.s.conn.Query(q.ctx, query, q.args...)
	if err != nil {
		return nil, err
	}
	err = each(rows, func() error {
		var t command.Tally
		if err := rows.Scan(&t.Name, &t.Count); err != nil {
			return err
		}
		all = append(all, t)
		return nil
	})
	return all, err
}

func (q question) stored(query string) (all []command.Stored, err error) {
	rows, err := q.s.conn.Query(q.ctx, query, q.args...)
	if err != nil {
		return nil, err
	}
	err = each(rows, func() error {
		var e command.Stored
		if err := rows.Scan(&e.ID, &e.Name, &e.Tool, &e.Effect, &e.Destination, (*int64)(&e.Time)); err != nil {
			return err
		}
		all = append(all, e)
		return nil
	})
	return all, err
}
