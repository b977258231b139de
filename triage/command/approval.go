package command

import "github.com/stakeout-project/stakeout/ingest/event"

// An Approval is an operator's decision on an action that waits for one.
type Approval struct {
	Action   string          `json:"action"` // id
	Decision Decision        `json:"decision"`
	Why      string          `json:"why"`
	Time     event.Timestamp `json:"time"`
}

// Decision is a yes or a no.
type Decision string

// The two decisions.
const (
	Approved Decision = "approve"
	Refused  Decision = "reject"
)
