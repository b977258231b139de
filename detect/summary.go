package detect

import "github.com/stakeout-project/stakeout/ingest/event"

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
	Learning State = "learning" // too little is known to judge the agent against itself
	Active   State = "active"
	Drifted  State = "drifted" // away from its own past, reported, not gone back
)
