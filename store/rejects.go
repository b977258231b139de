package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stakeout-project/stakeout/ingest/stream"
)

// A Reject is a line that is no event, and why: what ingest writes to the topic
// of rejects.
type Reject struct {
	Topic     string    `json:"topic"`
	Partition int       `json:"partition"`
	Offset    int64     `json:"offset"` // -1 where a build before 2026-11-23 did not know it any more
	Line      int       `json:"line"`   // from 1; 0 is the whole record
	Time      time.Time `json:"time"`
	Field     string    `json:"field"`
	Position  int       `json:"position"`
	Reason    string    `json:"reason"`
	Size      int       `json:"size"`
	SHA256    string    `json:"sha256"`
	Lines     int       `json:"lines"` // that it stands for, where it is for several
	Stack     string    `json:"stack"` // of a panic
}

type rejectRow struct {
	Reject
	unplaced int64 // offset of the reject, where that of the record is not known
	ingested time.Time
}

func decodeReject(r *stream.Record) (row rejectRow, size int, err error) {
	if err := json.Unmarshal(r.Value, &row.Reject); err != nil {
		return rejectRow{}, 0, fmt.Errorf("decode reject: %w", err)
	}
	if row.Topic == "" {
		return rejectRow{}, 0, errors.New("decode reject: it has no topic")
	}
	row.ingested = r.Time
	if row.Offset < 0 {
		row.unplaced = r.Offset
	}
	return row, len(r.Value) + 256, nil
}

func rejectsTable() table[rejectRow] {
	type r = rejectRow
	return table[r]{"rejects", []field[r]{
		col("topic", func(j *r) string { return j.Topic }),
		col("partition", func(j *r) uint32 { return uint32(j.Partition) }),
		col("offset", func(j *r) int64 { return j.Offset }),
		col("unplaced", func(j *r) uint64 { return uint64(j.unplaced) }),
		col("line", func(j *r) uint32 { return uint32(j.Line) }),
		col("time", func(j *r) time.Time { return known(j.Time) }),
		col("field", func(j *r) string { return j.Field }),
		col("position", func(j *r) int64 { return int64(j.Position) }),
		col("reason", func(j *r) string { return j.Reason }),
		col("size", func(j *r) uint64 { return uint64(j.Size) }),
		col("sha256", func(j *r) string { return j.SHA256 }),
		col("lines", func(j *r) uint32 { return uint32(j.Lines) }),
		col("stack", func(j *r) string { return j.Stack }),
		col("ingested", func(j *r) time.Time { return j.ingested }),
	}}
}
