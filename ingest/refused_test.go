package ingest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

func TestRefused(t *testing.T) {
	r := &stream.Record{Topic: "stakeout.events", Partition: 2, Offset: 9, Time: noon, Value: []byte("{}")}
	var ev event.Event
	got := ingest.Refused(r, ev.UnmarshalJSON(r.Value))
	want := ingest.Reject{Topic: "stakeout.events", Partition: 2, Offset: 9, Time: noon, Field: "time", Position: -1,
		Reason: "is missing, want it in every event", Size: 2, SHA256: sum("{}")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Refused (-want +got):\n%s", diff)
	}
}
