package detect

import "github.com/stakeout-project/stakeout/ingest/event"

// A Summary is what people want to know of a profile without its statistics.
type Summary struct {
	Agent  string
	Role   string
	Tenant string
	State  State
	Events uint64 // learned
	First  event.Timestamp
	Last   event.Timestamp

	Privileges int // distinct, known
}

// State is where an agent's baseline stands in its life.
type State string

// The states of a baseline.
const (
	Learning State = "learning" // too little is known to judge the agent against itself
	Active   State = "active"
	Drifted  State = "drifted" // away from its own past, reported, not gone back
)
