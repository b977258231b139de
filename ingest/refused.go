package ingest

import (
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// Refused returns the reject of a whole record that a later role cannot read,
// so that all refusals have one form.
func Refused(r *stream.Record, cause error) Reject {
	rej := refusal(cause)
	rej.of(event.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, r.Time, r.Value)
	return *rej
}
