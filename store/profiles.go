package store

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// profileRow is what people want to know of an agent's profile, or that it is gone.
type profileRow struct {
	detect.Summary
	deleted  bool
	ingested time.Time
	raw      string
}

// decodeProfile reads a record of the changelog. The latest record of an agent
// is the one with the latest time, not with the highest offset: a topic that is
// made anew begins at offset 0.
func decodeProfile(r *stream.Record) (row profileRow, size int, err error) {
	if r.Key != nil && len(r.Key) == 0 && r.Value == nil { // by which an owner of the changelog shuts out earlier ones
		return profileRow{}, 0, errNoRow
	}
	if len(r.Key) == 0 {
		return profileRow{}, 0, errors.New("decode profile: the record has no key, want the agent")
	}
	agent := detect.NameOf(string(r.Key))
	row.ingested = r.Time
	if len(r.Value) == 0 { // a tombstone
		row.Agent, row.deleted = agent, true
		return row, 256, nil
	}
	if row.Summary, err = detect.Summarize(agent, r.Value); err != nil {
		return profileRow{}, 0, err
	}
	raw, err := json.Marshal(row.Summary)
	if err != nil {
		return profileRow{}, 0, err
	}
	row.raw = string(raw)
	return row, len(raw) + 512, nil
}

func profilesTable() table[profileRow] {
	type r = profileRow
	return table[r]{"profiles", []field[r]{
		col("agent", func(p *r) string { return p.Agent }),
		col("role", func(p *r) string { return p.Role }),
		col("tenant", func(p *r) string { return p.Tenant }),
		col("state", func(p *r) string { return string(p.State) }),
		col("events", func(p *r) uint64 { return p.Events }),
		col("first", func(p *r) *time.Time { return maybe(p.First) }),
		col("last", func(p *r) *time.Time { return maybe(p.Last) }),
		col("privileges", func(p *r) uint32 { return uint32(p.Privileges) }),
		col("ingested", func(p *r) time.Time { return p.ingested }),
		col("version", func(p *r) uint64 { return uint64(p.ingested.UnixMilli()) }),
		col("deleted", func(p *r) uint8 {
			if p.deleted {
				return 1
			}
			return 0
		}),
		col("raw", func(p *r) string { return p.raw }),
	}}
}
