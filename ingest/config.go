package ingest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// Config names the topics that ingest reads and writes.
//
// The raw topics should have message.timestamp.type=LogAppendTime: the time of
// a raw record is the clock that events are held against, and with CreateTime
// it is the shipper who sets it.
type Config struct {
	Raw     []string `koanf:"raw"`     // topics that shippers write lines of JSON to
	Events  string   `koanf:"events"`  // topic of the events, keyed by agent
	Rejects string   `koanf:"rejects"` // topic of what was refused, and why
	Group   string   `koanf:"group"`   // consumer group
}

// DefaultConfig returns the topics that the other roles expect.
func DefaultConfig() Config {
	return Config{
		Raw:     []string{"stakeout.raw"},
		Events:  "stakeout.events",
		Rejects: "stakeout.rejects",
		Group:   "stakeout-ingest",
	}
}

// topicName is what Kafka takes for the name of a topic.
var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// Validate names every setting that cannot be used.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	topic := func(key, name string) {
		if !topicName.MatchString(name) || name == "." || name == ".." {
			bad("%s: is %q, want the name of a topic: up to 249 of A-Z a-z 0-9 . _ -", key, name)
		}
	}

	if len(c.Raw) == 0 {
		bad("raw: is empty, want one topic or more")
	}
	for i, name := range c.Raw {
		topic("raw", name)
		if slices.Contains(c.Raw[:i], name) {
			bad("raw: has %q twice, want each topic once", name)
		}
	}
	topic("events", c.Events)
	topic("rejects", c.Rejects)
	if c.Events == c.Rejects {
		bad("rejects: is %q as events is, want another topic", c.Rejects)
	}
	for _, name := range []string{c.Events, c.Rejects} {
		if slices.Contains(c.Raw, name) {
			bad("raw: has %q, which ingest writes to, want topics of shippers only", name)
		}
	}
	if c.Group == "" {
		bad("group: is empty, want the name of a consumer group")
	}
	return errors.Join(errs...)
}
