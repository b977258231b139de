package triage

import (
	"strconv"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// FoundHeader is the header of a finding's record that says when its event was
// judged. It stands beside the finding and not in it, because a replay must
// make the same finding, byte for byte.
const FoundHeader = "stakeout-found"

// AppendFound appends the value of the header.
func AppendFound(dst []byte, at time.Time) []byte { return strconv.AppendInt(dst, at.UnixNano(), 10) }

// TrustHeader is the header of a finding's record that names the list of trusted sources
// by which what the finding rests on was kept apart: see [Policy.TrustVersion]. It stands
// beside the finding because the list says what may be done about it, not what was found.
const TrustHeader = "stakeout-trust"

// stamps say how a finding came to us. A missing one is 0.
type stamps struct {
	ingested, found event.Timestamp
	topic           string // raw one that the event judged was read from
	trust           string // version of the list by which detection kept apart what it was told
}

// stampsOf reads them off a record of the topic of findings: its own time is
// that at which Kafka took in the event it is about.
func stampsOf(r *stream.Record) (s stamps) {
	if !r.Time.IsZero() {
		s.ingested = event.At(r.Time)
	}
	for _, h := range r.Headers {
		if h.Key == event.SourceHeader {
			var src event.Source
			if src.Parse(h.Value) == nil && len(src.Topic) <= maxName {
				s.topic = src.Topic
			}
		}
		if h.Key == TrustHeader && len(h.Value) <= maxID {
			s.trust = string(h.Value)
		}
		if h.Key != FoundHeader {
			continue
		}
		if n, err := strconv.ParseInt(string(h.Value), 10, 64); err == nil && n > 0 {
			s.found = event.Timestamp(n)
		}
	}
	return s
}
