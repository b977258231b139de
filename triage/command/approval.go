package command

import "github.com/stakeout-project/stakeout/ingest/event"

// An Approval is an operator's decision on an action.
type Approval struct {
	Action   string          `json:"action"` // id; of the incident where one is closed or reopened
	Decision Decision        `json:"decision"`
	Verdict  Verdict         `json:"verdict,omitempty"` // on the incident that is closed
	Why      string          `json:"why"`
	Time     event.Timestamp `json:"time"`
}

// Decision is what an operator wants.
type Decision string

// The decisions. An approval and a rejection are about an action that waits, an
// undo is about one that was carried out, the others are about an incident.
const (
	Approved Decision = "approve"
	Refused  Decision = "reject"
	Undo     Decision = "undo"
	Close    Decision = "close"
	Reopen   Decision = "reopen"
)
