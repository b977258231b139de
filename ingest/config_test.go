package ingest_test

import (
	"testing"

	"github.com/stakeout-project/stakeout/ingest"
)

func TestConfig(t *testing.T) {
	if err := ingest.DefaultConfig().Validate(); err != nil {
		t.Errorf("the default is refused: %v", err)
	}
	f := func(change func(*ingest.Config), want string) {
		t.Helper()
		cfg := ingest.DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || err.Error() != want {
			t.Errorf("Validate = %v\nwant %s", err, want)
		}
	}
	const name = "want the name of a topic: up to 249 of A-Z a-z 0-9 . _ -"
	f(func(c *ingest.Config) { c.Raw = nil }, "raw: is empty, want one topic or more")
	f(func(c *ingest.Config) { c.Raw = []string{"a b"} }, `raw: is "a b", `+name)
	f(func(c *ingest.Config) { c.Raw = []string{"a", "b", "a"} }, `raw: has "a" twice, want each topic once`)
	f(func(c *ingest.Config) { c.Raw = append(c.Raw, c.Events) }, `raw: has "stakeout.events", which ingest writes to, want topics of shippers only`)
	f(func(c *ingest.Config) { c.Events = "" }, `events: is "", `+name)
	f(func(c *ingest.Config) { c.Rejects = ".." }, `rejects: is "..", `+name)
	f(func(c *ingest.Config) { c.Rejects = c.Events }, `rejects: is "stakeout.events" as events is, want another topic`)
	f(func(c *ingest.Config) { c.Group = "" }, "group: is empty, want the name of a consumer group")
}
