package triage

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// Foretell returns why triage will not take an operator's decision on an action that
// stands in [command.ActionBucket] with this value; nil if it will. It is for whoever
// sends decisions, who gets no answer; triage itself decides when the decision comes.
func Foretell(value []byte, a command.Approval, operator string, now time.Time) error {
	var r record
	if err := json.Unmarshal(value, &r); err != nil || len(r.Ladder) == 0 {
		return fmt.Errorf("action %s: its record cannot be read", a.Action)
	}
	decide := r.decide
	if a.Decision == command.Undo {
		decide = r.undo
	}
	switch result, _ := decide(now, a, operator); result {
	case "not entitled":
		want := "it waits for nobody"
		if approvers := r.Ladder[0].Approvers; len(approvers) > 0 {
			want = "want " + strings.Join(approvers, " or ")
		}
		return fmt.Errorf("%s is no approver of this action: %s", operator, want)
	case "late":
		return fmt.Errorf("it is too late: the action is %s", r.Status)
	case "duplicate":
		return fmt.Errorf("it is decided already: the action is %s", r.Status)
	case "nothing to undo":
		return fmt.Errorf("there is nothing to undo: the action is %s", r.Status)
	}
	return nil
}
