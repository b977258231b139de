package detect

import (
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Summary is what people want to know of a profile without its statistics.
type Summary struct {
	Agent  string          `json:"agent"`
	Role   string          `json:"role"`
	Tenant string          `json:"tenant"`
	State  State           `json:"state"`
	Events uint64          `json:"events"` // learned
	First  event.Timestamp `json:"first"`
	Last   event.Timestamp `json:"last"`

	Privileges int `json:"privileges"` // distinct, known
}

// State is where an agent's baseline stands in its life.
type State string

// The states of a baseline.
const (
	Learning   State = "learning" // too little is known to judge the agent against itself
	Relearning State = "reset"    // learning, because a person had it forget
	Active     State = "active"
	Stale      State = "stale"   // active, but so long ago that it may no longer hold; see [Summary.At]
	Drifted    State = "drifted" // away from its own past, reported, not gone back
)

// States lists them.
func States() []State { return []State{Learning, Relearning, Active, Stale, Drifted} }

// staleAfter is how long an agent may be silent until its baseline is stale. It is
// still judged by it: who comes back after long may be somebody else.
const staleAfter = 30 * 24 * time.Hour

// At returns the summary as it looks at a time.
func (s Summary) At(now event.Timestamp) Summary {
	if s.State == Active && now.Sub(s.Last) > staleAfter {
		s.State = Stale
	}
	return s
}
