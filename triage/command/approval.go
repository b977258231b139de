package command

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// An Approval is an operator's decision on an action.
type Approval struct {
	Action   string          `json:"action"` // id; of the incident where one is closed or reopened, [BaselineID] or [BrakeID] where it is about those
	Decision Decision        `json:"decision"`
	Verdict  Verdict         `json:"verdict,omitempty"` // on the incident that is closed
	Agent    string          `json:"agent,omitempty"`   // whose baseline is meant
	Kind     Kind            `json:"kind,omitempty"`    // that a brake holds
	Tenant   string          `json:"tenant,omitempty"`  // whose agents a brake protects
	Until    event.Timestamp `json:"until,omitempty"`   // of a close: until when findings like it are not acted on
	Why      string          `json:"why"`
	Time     event.Timestamp `json:"time"`
}

// Decision is what an operator wants.
type Decision string

// The decisions. An approval and a rejection are about an action that waits, an
// undo is about one that was carried out; an incident is closed or reopened; a
// baseline is reset, re-anchored or confirmed; a brake is pulled or released.
const (
	Approved Decision = "approve"
	Refused  Decision = "reject"
	Undo     Decision = "undo"
	Close    Decision = "close"
	Reopen   Decision = "reopen"
	Reset    Decision = "reset"
	Reanchor Decision = "reanchor"
	Confirm  Decision = "confirm"
	Forget   Decision = "forget" // of a canary that came through
	Pull     Decision = "pull"
	Release  Decision = "release"

	Unsuppress Decision = "unsuppress" // of a suppression, before it ends by itself
)

// OfBaseline reports whether d is about the baseline of an agent.
func (d Decision) OfBaseline() bool {
	return d == Reset || d == Reanchor || d == Confirm || d == Forget
}

// BaselineID is what a decision about an agent's baseline is sent under.
func BaselineID(agent string) string {
	sum := sha256.Sum256([]byte("baseline\x00" + agent))
	return hex.EncodeToString(sum[:16])
}
