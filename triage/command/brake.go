package command

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Brake keeps triage from commanding by itself what takes something away: what
// would have gone by itself waits for a person. It stands in [ActionBucket] under
// its key. Who can write that bucket could take it off; only triage can.
type Brake struct {
	Kind     Kind            `json:"kind,omitempty"`   // that it holds; empty: all that take something away
	Tenant   string          `json:"tenant,omitempty"` // whose agents it protects; empty: all
	On       bool            `json:"on"`
	Since    event.Timestamp `json:"since"`
	Until    event.Timestamp `json:"until,omitempty"` // 0: until it is released
	Why      string          `json:"why"`
	Action   string          `json:"action,omitempty"`   // id of the one that was too many
	Operator string          `json:"operator,omitempty"` // public key of who pulled or released it
}

// BrakePrefix begins the keys of brakes.
const BrakePrefix = "brake."

// BrakeID names a brake in a subject.
func BrakeID(k Kind, tenant string) string {
	sum := sha256.Sum256([]byte("brake\x00" + string(k) + "\x00" + tenant))
	return hex.EncodeToString(sum[:16])
}

// Holds reports whether b is on at a time.
func (b Brake) Holds(now event.Timestamp) bool { return b.On && (b.Until == 0 || now < b.Until) }

// OfBrake reports whether d is about a brake.
func (d Decision) OfBrake() bool { return d == Pull || d == Release }
