package store

import (
	"encoding/json"
	"testing"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// No record, whatever it holds, does more than be refused; and a row that is
// made of one can be turned into columns and names what it is a row of.
func FuzzDecode(f *testing.F) {
	r := eventRecord(f, 1, "a", now)
	f.Add(r.Key, r.Value, r.Headers[1].Value)
	finding := jsonRecord(f, "findings", 1, "a", findingOf("f", "a", detect.High, now))
	f.Add(finding.Key, finding.Value, []byte(nil))
	reject := jsonRecord(f, "rejects", 1, "a", Reject{Topic: "raw", Offset: -1, Time: now})
	f.Add(reject.Key, reject.Value, []byte{0xff})
	p := profileRecord(f, "a", 3, 1, now)
	f.Add(p.Key, p.Value, []byte{})
	f.Add([]byte("a"), []byte(nil), []byte{})
	f.Add([]byte(nil), []byte(`{"topic":"x","time":"9999-12-31T23:59:59Z","offset":-9223372036854775808}`), []byte{})
	events, findings, profiles, rejects := eventsTable(), findingsTable(), profilesTable(), rejectsTable()
	var dec eventDecoder
	f.Fuzz(func(t *testing.T, key, value, src []byte) {
		r := stream.Record{Topic: "t", Partition: 1, Offset: 2, Time: now, Key: key, Value: value, Headers: []stream.Header{{Key: event.SourceHeader, Value: src}}}
		if row, _, err := dec.decode(&r); err == nil {
			if row.Agent == "" || row.ID == "" {
				t.Errorf("an event without agent or id: %+v", row)
			}
			toColumns(events, row)
		}
		if row, _, err := decodeFinding(&r); err == nil {
			if row.Agent == "" || row.ID == "" || !json.Valid([]byte(row.raw)) {
				t.Errorf("a finding without agent, id or JSON: %+v", row)
			}
			toColumns(findings, row)
		}
		if row, _, err := decodeProfile(&r); err == nil {
			if row.Agent != string(key) || row.deleted != (len(value) == 0) {
				t.Errorf("a profile of %q, deleted %t", row.Agent, row.deleted)
			}
			toColumns(profiles, row)
		}
		if row, _, err := decodeReject(&r); err == nil {
			toColumns(rejects, row)
		}
	})
}

func toColumns[T any](t table[T], row T) {
	for _, c := range t.columns {
		c.values([]item[T]{{row: row}})
	}
}
