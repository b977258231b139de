package app

import (
	"strconv"

	"github.com/stakeout-project/stakeout/ingest/stream"
)

// All lists the topics with the settings they are made with. Raw records are
// stamped by the broker when it takes them: that is the clock of ingest, the
// same in every replay. Events, findings and rejects keep the time of the raw
// record they come from.
func (t Topics) All() []stream.Topic {
	retention := map[string]string{"retention.ms": strconv.FormatInt(t.Retention.Milliseconds(), 10)}
	with := func(settings ...string) map[string]string {
		m := map[string]string{}
		for k, v := range retention {
			m[k] = v
		}
		for i := 0; i < len(settings); i += 2 {
			m[settings[i]] = settings[i+1]
		}
		return m
	}
	var topics []stream.Topic
	for _, raw := range t.Raw {
		topics = append(topics, stream.Topic{Name: raw, Partitions: t.Partitions, Settings: with("message.timestamp.type", "LogAppendTime", "max.message.bytes", strconv.Itoa(maxRecord))})
	}
	return append(topics, []stream.Topic{
		{Name: t.Events, Partitions: t.Partitions, Settings: with()},
		{Name: t.Rejects, Partitions: t.Partitions, Settings: with()},
		{Name: t.Findings, Partitions: t.Partitions, Settings: with()},
		{Name: t.Facts, Partitions: t.Partitions, Settings: map[string]string{"retention.ms": strconv.FormatInt(t.FactsRetention.Milliseconds(), 10)}},
		{Name: t.Profiles, Partitions: t.Partitions, Settings: map[string]string{"cleanup.policy": "compact", "retention.ms": "-1"}},
	}...)
}
