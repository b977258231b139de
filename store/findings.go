package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// findingRow is a finding with its own JSON, from which it is read back: a field
// that has no column yet is not lost.
type findingRow struct {
	detect.Finding
	ingested time.Time
	raw      string
}

func decodeFinding(r *stream.Record) (row findingRow, size int, err error) {
	if err := json.Unmarshal(r.Value, &row.Finding); err != nil {
		return findingRow{}, 0, fmt.Errorf("decode finding: %w", err)
	}
	if row.ID == "" || row.Agent == "" {
		return findingRow{}, 0, errors.New("decode finding: it has no id or no agent")
	}
	row.ingested, row.raw = r.Time, string(r.Value)
	return row, 2*len(r.Value) + 512, nil
}

func findingsTable() table[findingRow] {
	type r = findingRow
	return table[r]{"findings", []field[r]{
		col("id", func(f *r) string { return f.ID }),
		col("detector", func(f *r) string { return f.Detector }),
		col("threat", func(f *r) string { return f.Threat }),
		col("severity", func(f *r) uint8 { return uint8(f.Severity) }),
		col("time", func(f *r) time.Time { return f.Time.Time() }),
		col("agent", func(f *r) string { return f.Agent }),
		col("role", func(f *r) string { return f.Role }),
		col("tenant", func(f *r) string { return f.Tenant }),
		col("session", func(f *r) string { return f.Session }),
		col("user", func(f *r) string { return f.User }),
		col("credential_id", func(f *r) string { return f.Credential.ID }),
		col("credential_issuer", func(f *r) string { return f.Credential.Issuer }),
		col("credential_subject", func(f *r) string { return f.Credential.Subject }),
		col("reason", func(f *r) string { return f.Reason }),
		col("observed", func(f *r) string { return f.Observed }),
		col("baseline", func(f *r) string { return f.Baseline }),
		col("p_value", func(f *r) float64 { return f.PValue }),
		col("level", func(f *r) float64 { return f.Level }),
		col("event", func(f *r) string { return f.Event }),
		col("evidence", func(f *r) []string { return f.Evidence }),
		col("asi", func(f *r) []string { return f.ASI }),
		col("atlas", func(f *r) []string { return f.ATLAS }),
		col("rules", func(f *r) string { return f.Rules }),
		col("ingested", func(f *r) time.Time { return f.ingested }),
		col("raw", func(f *r) string { return f.raw }),
	}}
}
