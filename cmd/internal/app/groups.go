package app

import (
	"errors"
	"fmt"
)

// Groups names the consumer groups; that of triage is triage.group.
type Groups struct {
	Ingest string `koanf:"ingest"`
	Detect string `koanf:"detect"` // and -facts, for those who judge what agents share
	Store  string `koanf:"store"`  // and a suffix for each topic
}

// Facts is the group of those who judge facts.
func (g Groups) Facts() string { return g.Detect + "-facts" }

// Validate names every group without a name.
func (g Groups) Validate() error {
	var errs []error
	for _, x := range []struct{ key, name string }{{"ingest", g.Ingest}, {"detect", g.Detect}, {"store", g.Store}} {
		if x.name == "" {
			errs = append(errs, fmt.Errorf("%s: is empty, want the name of a consumer group", x.key))
		}
	}
	return errors.Join(errs...)
}
