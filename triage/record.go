package triage

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// A record is how far one action has come, and what triage still owes to the
// world because of it. Its methods change it in memory and do nothing else; who
// changes a record saves it by compare-and-set before anything is done about it.
type record struct {
	Action command.Action `json:"action"`
	Ladder []Step         `json:"ladder"` // the action's own step, then what may follow
	Status command.Status `json:"status"`
	Log    []change       `json:"log"` // every status it had, oldest first; none comes twice, but waiting for each approval that is not enough

	Attempt int             `json:"attempt,omitempty"` // of the command that is wanted: 0 for none
	Due     event.Timestamp `json:"due,omitempty"`     // when the timer looks at it; 0 for never
	Since   event.Timestamp `json:"since,omitempty"`   // when the present wait began
	Follow  []string        `json:"follow,omitempty"`  // causes of what follows from it
	Lease   event.Timestamp `json:"lease,omitempty"`   // when what was done is undone; 0 for never
	By      string          `json:"by,omitempty"`      // the operator who undid it
	Votes   []vote          `json:"votes,omitempty"`   // approvals so far

	// What was done about it.
	After    *uint64          `json:"after,omitempty"`    // the command is sent on condition that this is the last sequence of its subject
	Sent     int              `json:"sent,omitempty"`     // attempts that stand in the stream
	Logged   int              `json:"logged,omitempty"`   // outcomes that stand in the stream
	LogSeq   uint64           `json:"log_seq,omitempty"`  // sequence of the last of them
	Followed int              `json:"followed,omitempty"` // causes that have been followed
	Posture  command.Standing `json:"posture,omitempty"`  // that was set
	Noted    command.Status   `json:"noted,omitempty"`    // that stands with the stops
	Armed    event.Timestamp  `json:"armed,omitempty"`    // that the timer knows
}

// A change is one status of an action.
type change struct {
	Status   command.Status  `json:"status"`
	Detail   string          `json:"detail,omitempty"`
	Executor string          `json:"executor,omitempty"`
	Approved int             `json:"approved,omitempty"` // by so many, while it goes on waiting
	Time     event.Timestamp `json:"time"`
}

// A vote is one operator's approval.
type vote struct {
	By  string `json:"by"`
	Why string `json:"why,omitempty"`
}

// Causes of an action that follows from another one, beside the statuses.
const (
	causeWaiting      = "waiting"
	causeContradicted = "contradicted"
)

// move gives r a new status and everything that goes with it.
func (r *record) move(now time.Time, s command.Status, detail, executor string) {
	step := r.Ladder[0]
	r.Status, r.Due = s, 0
	r.Log = append(r.Log, change{Status: s, Detail: cut(detail, maxText), Executor: executor, Time: event.At(now)})
	switch s {
	case command.Commanded:
		r.Action.Expires = event.At(now.Add(step.expires()))
		r.Attempt, r.Since, r.Due = 1, event.At(now), event.At(now.Add(step.ackTimeout()))
		if step.Lease > 0 {
			r.Lease = event.At(now.Add(step.Lease))
		}
	case command.Verified:
		r.Since, r.Due = 0, r.Lease
	case command.Waiting:
		r.Action.Expires = event.At(now.Add(step.expires()))
		r.Since, r.Due = event.At(now), event.At(now.Add(step.EscalateAfter))
		if step.EscalateAfter == 0 {
			r.follow(causeWaiting)
			r.Due = r.Action.Expires
		}
	case command.Held, command.Unverified, command.Failed, command.Expired:
		r.follow(string(s))
	}
}

// follow asks for what follows from a cause, once. From a page nothing follows:
// pages about pages would not end.
func (r *record) follow(cause string) {
	if r.Action.Kind != command.Page && r.Action.Kind != command.Canary && !slices.Contains(r.Follow, cause) {
		r.Follow = append(r.Follow, cause)
	}
}

// was reports whether r ever had the status.
func (r *record) was(s command.Status) bool {
	return slices.ContainsFunc(r.Log, func(c change) bool { return c.Status == s })
}

// last returns the latest change.
func (r *record) last() change { return r.Log[len(r.Log)-1] }

// waited says why r waits for a person, where the policy wanted it to go by itself.
func (r *record) waited() string {
	for _, c := range r.Log {
		if c.Status == command.Waiting {
			return c.Detail
		}
	}
	return ""
}

// answer takes an executor's ack. It reports what it made of it, and whether r changed.
//
// A verified action stays verified and an answered one keeps its answer: an
// executor that says two things is not believed a second time, but a person is
// told. A verified that comes after triage gave up waiting is good news and taken.
func (r *record) answer(now time.Time, a command.Ack, executor string) (result string, changed bool) {
	switch {
	case r.Status == command.Commanded:
		r.move(now, a.Status, a.Detail, executor)
		return "taken", true
	case r.Status == a.Status && r.last().Executor != "":
		return "duplicate", false
	case r.Status == command.Undone:
		return "late", false
	case r.Status == command.Unverified && r.last().Executor == "":
		if a.Status == command.Verified {
			r.move(now, a.Status, a.Detail+" (answered late)", executor)
			return "late", true
		}
		return "late", false // unverified it is already, and a person knows
	default:
		n := len(r.Follow)
		r.follow(causeContradicted)
		return "contradicting", len(r.Follow) > n
	}
}

// decide takes an operator's decision. Commanding what enough have approved is
// for the guards, so the last approval reports "approved" and no change.
func (r *record) decide(now time.Time, a command.Approval, operator string) (result string, changed bool) {
	switch {
	case !slices.Contains(r.Ladder[0].Approvers, operator):
		return "not entitled", false
	case r.Status != command.Waiting:
		if r.was(command.Expired) {
			return "late", false
		}
		return "duplicate", false
	case r.Action.Fresh(now) != nil:
		r.move(now, command.Expired, "nobody decided in time", "")
		return "late", true
	case a.Decision == command.Refused:
		r.move(now, command.Rejected, fmt.Sprintf("by %s: %s", operator, a.Why), "")
		return "rejected", true
	case slices.ContainsFunc(r.Votes, func(v vote) bool { return v.By == operator }):
		return "duplicate", false
	}
	r.Votes = append(r.Votes, vote{operator, cut(a.Why, maxText)})
	if len(r.Votes) < r.Ladder[0].quorum() {
		r.Log = append(r.Log, change{Status: command.Waiting, Detail: cut(r.approvedBy(), maxText), Approved: len(r.Votes), Time: event.At(now)})
		return "counted", true
	}
	return "approved", false
}

// approvedBy says who approved r, and why.
func (r *record) approvedBy() string {
	var b strings.Builder
	for i, v := range r.Votes {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString("approved by " + v.By + ": " + v.Why)
	}
	return b.String()
}

// undo takes back what can be taken back, because an operator says so.
func (r *record) undo(now time.Time, a command.Approval, operator string) (result string, changed bool) {
	approvers := r.Ladder[0].Approvers
	switch {
	case len(approvers) > 0 && !slices.Contains(approvers, operator):
		return "not entitled", false
	case r.Status == command.Undone:
		return "duplicate", false
	case !r.was(command.Commanded) || r.Action.Kind == command.Page:
		return "nothing to undo", false
	}
	detail := fmt.Sprintf("by %s: %s", operator, a.Why)
	if r.Action.Kind == command.RevokeToken {
		detail = "the posture is released, but the token stays revoked, for that has no undo; " + detail
	}
	r.By = operator
	r.move(now, command.Undone, detail, "")
	return "undone", true
}

// tick lets time pass. It reports whether r changed.
func (r *record) tick(now time.Time, stopped bool) bool {
	if r.Due == 0 || now.Before(r.Due.Time()) {
		return false
	}
	step := r.Ladder[0]
	switch r.Status {
	case command.Verified:
		r.move(now, command.Undone, fmt.Sprintf("its lease of %s has ended", step.Lease), "")
	case command.Waiting:
		if r.Action.Fresh(now) == nil {
			r.follow(causeWaiting)
			r.Due = r.Action.Expires
			return true
		}
		r.move(now, command.Expired, "nobody decided in time", "")
	case command.Commanded:
		if r.Attempt <= step.Retries && r.Action.Fresh(now) == nil && !stopped {
			r.Attempt++
			r.After = nil
			r.Due = event.At(now.Add(step.ackTimeout()))
			return true
		}
		r.move(now, command.Unverified, fmt.Sprintf("no executor answered within %s, in %d tries", now.Sub(r.Since.Time()).Round(time.Millisecond), r.Attempt), "")
	default:
		r.Due = 0
	}
	return true
}

// standing is the posture that r calls for; empty for none.
func (r *record) standing() command.Standing {
	own := r.Action.Kind.Standing()
	switch {
	case r.Status == command.Undone:
		return ""
	case own != "" && r.was(command.Commanded):
		return own
	case !r.Action.Kind.Contains() || r.Action.Kind == command.QuarantineMemory: // that is aimed at a record
		return ""
	case r.was(command.Verified):
		return command.Contained
	case r.was(command.Commanded):
		return command.Restricted
	case r.Status == command.Waiting || r.Status == command.Held:
		return command.Watched
	}
	return ""
}

// owes reports whether something has to be done about r.
func (r *record) owes() bool {
	return r.toSend() || r.Logged < len(r.Log) || r.Followed < len(r.Follow) || r.toHold() || r.toRelease() || r.toNote() || r.Armed != r.Due
}

// toHold reports whether a posture has to be set.
func (r *record) toHold() bool { s := r.standing(); return s != "" && s != r.Posture }

// toRelease reports whether a posture that was set has to end.
func (r *record) toRelease() bool { return r.Status == command.Undone && r.Posture != "" }

// toSend reports whether a command has to be published. An action that only triage itself carries out has none.
func (r *record) toSend() bool {
	return r.Status == command.Commanded && r.Action.Kind.Standing() == "" && r.Sent < r.Attempt
}

// outcome is the i-th record of r for the world.
func (r *record) outcome(i int) command.Outcome {
	c := r.Log[i]
	o := command.Outcome{Action: r.Action, Status: c.Status, Detail: c.Detail, Executor: c.Executor, Time: c.Time}
	if n := r.Ladder[0].quorum(); n > 1 && c.Status == command.Waiting {
		o.Approved, o.Quorum = c.Approved, n
	}
	return o
}

const maxText = 1024 // bytes of a sentence

// cut shortens s to at most n bytes, and never within a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const mark = "..."
	i := n - len(mark)
	for i > 0 && s[i]&0xC0 == 0x80 {
		i--
	}
	return s[:i] + mark
}
