package app

import (
	"errors"
	"fmt"
	"time"
)

// Detection bounds what the detect role holds in memory, and what it does again after a crash.
type Detection struct {
	// MaxAgents is how many profiles a partition keeps, of some 2 KB each. Beyond
	// it the agent seen longest ago is forgotten and learns anew when it comes back.
	MaxAgents int `koanf:"max_agents"`
	// MaxEntities is how many shared things a partition keeps, most of them of some 0.4 KB.
	// Beyond it those met longest ago are forgotten.
	MaxEntities int `koanf:"max_entities"`

	// Settle is how long what several agents share waits at least before it is judged, from
	// when the broker took the line, for what others tell of it that happened before.
	Settle time.Duration `koanf:"settle"`
	// Stalled is for how long a partition that does not move is waited for.
	Stalled time.Duration `koanf:"stalled"`

	// Each checkpoint writes all changed profiles of a partition, if they are no more than this.
	CheckpointProfiles int `koanf:"checkpoint_profiles"`
	// Of more than these it writes those whose changes lie back by so many records or
	// so much time: busy agents are not written each time. As much is judged again
	// after a crash, and the group's offset lags by as much while events keep coming.
	ReplayRecords int           `koanf:"replay_records"`
	ReplayAge     time.Duration `koanf:"replay_age"`

	// HeapGrowth is by how many bytes the heap of the process may grow between two garbage
	// collections, where Go would let it double, and how many it may hold that are not in
	// use; 0, or GOGC in the environment, leaves both to Go.
	HeapGrowth int64 `koanf:"heap_growth"`
}

// Validate refuses a bound that nothing fits in.
func (d Detection) Validate() error {
	var errs []error
	if d.MaxAgents < 1 {
		errs = append(errs, fmt.Errorf("max_agents: is %d, want 1 or more", d.MaxAgents))
	}
	if d.MaxEntities < 1 {
		errs = append(errs, fmt.Errorf("max_entities: is %d, want 1 or more", d.MaxEntities))
	}
	if d.Settle < 0 {
		errs = append(errs, fmt.Errorf("settle: is %s, want 0s or more", d.Settle))
	}
	if d.Stalled < time.Second {
		errs = append(errs, fmt.Errorf("stalled: is %s, want 1s or more", d.Stalled))
	}
	if d.CheckpointProfiles < 0 {
		errs = append(errs, fmt.Errorf("checkpoint_profiles: is %d, want 0 or more", d.CheckpointProfiles))
	}
	if d.ReplayRecords < 0 {
		errs = append(errs, fmt.Errorf("replay_records: is %d, want 0 or more", d.ReplayRecords))
	}
	if d.ReplayAge < 0 {
		errs = append(errs, fmt.Errorf("replay_age: is %s, want 0s or more", d.ReplayAge))
	}
	if d.HeapGrowth < 0 || d.HeapGrowth > 0 && d.HeapGrowth < 16<<20 {
		errs = append(errs, fmt.Errorf("heap_growth: is %d bytes, want 16777216 or more, or 0", d.HeapGrowth))
	}
	return errors.Join(errs...)
}
