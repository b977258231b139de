package app

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/ingest/stream"
)

// Topics names the topics and says how they are made where they are missing.
type Topics struct {
	Raw        []string      `koanf:"raw"`      // what shippers write; `stakeout ship` writes the first
	Events     string        `koanf:"events"`   // decoded, keyed by agent
	Rejects    string        `koanf:"rejects"`  // why a line is no event
	Findings   string        `koanf:"findings"` // keyed by agent
	Profiles   string        `koanf:"profiles"` // changelog of the baselines, compacted
	Facts      string        `koanf:"facts"`    // what agents tell of things they share, keyed by thing
	Partitions int           `koanf:"partitions"`
	Retention  time.Duration `koanf:"retention"` // of all but the profiles and the facts

	// FactsRetention is how long what agents share is remembered. What lasts is told again each week.
	FactsRetention time.Duration `koanf:"facts_retention"`
}

// DefaultTopics are eight partitions kept for a week.
func DefaultTopics() Topics {
	return Topics{Raw: []string{"stakeout.raw"}, Events: "stakeout.events", Rejects: "stakeout.rejects", Findings: "stakeout.findings",
		Profiles: "stakeout.profiles", Facts: "stakeout.facts", Partitions: 8, Retention: 7 * 24 * time.Hour, FactsRetention: 30 * 24 * time.Hour}
}

// Validate names every setting that cannot be used.
func (t Topics) Validate() error {
	var errs []error
	if len(t.Raw) == 0 {
		errs = append(errs, errors.New("raw: is empty, want the name of a topic or more"))
	}
	seen := map[string]string{}
	check := func(key, name string) {
		switch other, twice := seen[name]; {
		case strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" || strings.Trim(name, ".") == "" || len(name) > 249:
			errs = append(errs, fmt.Errorf("%s: is %q, want up to 249 letters, digits, dots, dashes and underscores", key, name))
		case twice:
			errs = append(errs, fmt.Errorf("%s: is %q, which is %s already", key, name, other))
		}
		seen[name] = key
	}
	for i, name := range t.Raw {
		check(fmt.Sprintf("raw[%d]", i), name)
	}
	check("events", t.Events)
	check("rejects", t.Rejects)
	check("findings", t.Findings)
	check("profiles", t.Profiles)
	check("facts", t.Facts)
	if t.Partitions < 1 || t.Partitions > 10_000 {
		errs = append(errs, fmt.Errorf("partitions: is %d, want 1 to 10000", t.Partitions))
	}
	if t.Retention < time.Hour {
		errs = append(errs, fmt.Errorf("retention: is %s, want 1h or more", t.Retention))
	}
	if t.FactsRetention < 14*24*time.Hour { // twice the week after which a fact is told again
		errs = append(errs, fmt.Errorf("facts_retention: is %s, want 336h or more", t.FactsRetention))
	}
	return errors.Join(errs...)
}

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
