package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// A SuppressionCount is a suppression with how many findings fell under it.
type SuppressionCount struct {
	command.Suppression
	Findings uint64 `json:"findings"`
}

// A removed or expired suppression may be followed by another one of the same
// id: what fell under the earlier one is not counted for it.
const suppressionsQuery = `SELECT s.raw, countIf(d.time >= s.since) FROM (SELECT id, raw, since, until, removed FROM suppressions FINAL) AS s
LEFT JOIN (SELECT suppression, time FROM dispositions FINAL WHERE suppression != '') AS d ON d.suppression = s.id
WHERE {all:Bool} OR (NOT s.removed AND s.until > fromUnixTimestamp64Nano({now:Int64}))
GROUP BY s.id, s.raw, s.until ORDER BY s.until, s.id LIMIT {limit:UInt32}`

// Suppressions returns the suppressions in force at a time, the one that ends
// first first; all there ever were if asked for.
func (s *Store) Suppressions(ctx context.Context, now time.Time, all bool, most int) ([]SuppressionCount, error) {
	rows, err := s.conn.Query(ctx, suppressionsQuery, arg("all", fmt.Sprint(all)), arg("now", fmt.Sprint(now.UnixNano())), limit(most))
	if err != nil {
		return nil, fmt.Errorf("query suppressions: %w", err)
	}
	var found []SuppressionCount
	err = each(rows, func() error {
		var raw string
		var c SuppressionCount
		if err := rows.Scan(&raw, &c.Findings); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(raw), &c.Suppression); err != nil {
			return err
		}
		found = append(found, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("query suppressions: %w", err)
	}
	return found, nil
}
