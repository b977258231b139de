package command

import "github.com/stakeout-project/stakeout/ingest/event"

// A Posture is how an agent stands right now. It is the value under the key
// Token(agent) of [PostureBucket], as plain JSON: an enforcement point watches
// the key and decides locally, so continuous authorisation costs no call.
// A missing key and an expired posture both mean [Normal].
type Posture struct {
	Agent    string          `json:"agent"`
	Standing Standing        `json:"standing"`
	Reason   string          `json:"reason,omitempty"`
	Incident string          `json:"incident,omitempty"`
	Since    event.Timestamp `json:"since"`
	Expires  event.Timestamp `json:"expires"`
}

// Standing says what an enforcement point should let an agent do.
type Standing string

// The standings, best first.
const (
	Normal     Standing = "normal"
	Watched    Standing = "watched"    // look closer
	Restricted Standing = "restricted" // containment is under way: deny what changes the world
	Contained  Standing = "contained"  // containment is verified: deny everything
)

// Rank orders the standings: a higher one allows less.
func (s Standing) Rank() int {
	switch s {
	case Watched:
		return 1
	case Restricted:
		return 2
	case Contained:
		return 3
	}
	return 0
}
