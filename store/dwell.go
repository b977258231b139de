package store

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// DwellFilter chooses actions; an empty field chooses all that were commanded.
type DwellFilter struct {
	Agent string
	Kind  string
	Since time.Time // of the command
}

// A Stage is one part of the way from an anomaly to its end, over many actions.
type Stage struct {
	From  string  `json:"from"`
	To    string  `json:"to"`
	Count uint64  `json:"count"` // of actions that have both stamps
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// stages are the parts, in order, and at the end the whole: until the agent was
// stopped, and until a person decided on it or on its incident.
func stages() [][2]string {
	return [][2]string{{"occurred", "ingested"}, {"ingested", "found"}, {"found", "commanded"}, {"commanded", "verified"}, {"occurred", "verified"}, {"occurred", "acknowledged"}}
}

// An agent's clock may be ahead of ours, so a stage may be shorter than nothing.
const dwellQuery = `WITH stamps AS (
	SELECT a.occurred AS occurred, a.event_ingested AS ingested, a.found AS found, h.commanded AS commanded, h.verified AS verified, i.acknowledged AS acknowledged
	FROM actions AS a FINAL
	INNER JOIN (
		SELECT id, minOrNullIf(time, status = 'commanded') AS commanded, minOrNullIf(time, status = 'verified') AS verified
		FROM action_history FINAL GROUP BY id
	) AS h ON h.id = a.id
	LEFT JOIN (
		SELECT arrayJoin(arrayPushBack(JSONExtract(raw, 'merged', 'Array(String)'), id)) AS id, min(acknowledged) AS acknowledged
		FROM incidents FINAL GROUP BY id
	) AS i ON i.id = a.incident
	WHERE h.commanded IS NOT NULL AND a.mode != 'shadow' AND a.kind != 'canary'
	  AND ({agent:String} = '' OR a.agent = {agent:String})
	  AND ({kind:String} = '' OR a.kind = {kind:String})
	  AND h.commanded >= fromUnixTimestamp64Nano({since:Int64})
)
SELECT count(ms), quantilesExactInclusive(0.5, 0.9, 0.99)(ms), ifNull(max(ms), 0)
FROM (
	SELECT (toUnixTimestamp64Nano(at_to) - toUnixTimestamp64Nano(at_from)) / 1e6 AS ms
	FROM (SELECT assumeNotNull({to:Identifier}) AS at_to, assumeNotNull({from:Identifier}) AS at_from FROM stamps
		WHERE {to:Identifier} IS NOT NULL AND {from:Identifier} IS NOT NULL)
)`

// Dwell returns how long each part of the way took.
func (s *Store) Dwell(ctx context.Context, f DwellFilter) ([]Stage, error) {
	var all []Stage
	for _, st := range stages() {
		x := Stage{From: st[0], To: st[1]}
		var q []float64
		row := s.conn.QueryRow(ctx, dwellQuery, arg("agent", f.Agent), arg("kind", f.Kind),
			arg("since", strconv.FormatInt(known(f.Since).UnixNano(), 10)), arg("from", st[0]), arg("to", st[1]))
		if err := row.Scan(&x.Count, &q, &x.Max); err != nil {
			return nil, fmt.Errorf("query dwell from %s to %s: %w", st[0], st[1], err)
		}
		if len(q) == 3 && x.Count > 0 {
			x.P50, x.P90, x.P99 = q[0], q[1], q[2]
		}
		all = append(all, x)
	}
	return all, nil
}
