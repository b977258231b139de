package command

import (
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Suppression has nothing done about findings of one detector about one agent,
// because a person found one of them to be no reason for it. It ends by itself.
// Findings that are more severe than those of the incident are not suppressed.
type Suppression struct {
	ID        string          `json:"id"`
	Incident  string          `json:"incident"` // that got the verdict
	Agent     string          `json:"agent"`
	Detector  string          `json:"detector"`
	Untrusted bool            `json:"untrusted,omitempty"` // it is of what was told of the agent by others, and of that alone
	Severity  int             `json:"severity_id"`         // of the incident: the highest that is suppressed
	Owner     string          `json:"owner"`               // public key of the operator
	Verdict   Verdict         `json:"verdict"`
	Why       string          `json:"why,omitempty"`
	Since     event.Timestamp `json:"since"`
	Until     event.Timestamp `json:"until"`
	Removed   bool            `json:"removed,omitempty"`
	RemovedBy string          `json:"removed_by,omitempty"`
}

// MaxSuppression bounds how long a suppression lasts.
const MaxSuppression = 30 * 24 * time.Hour

// Holds reports whether s is in force at a time.
func (s Suppression) Holds(now event.Timestamp) bool { return !s.Removed && now < s.Until }

// Suppresses reports whether incidents that are closed with v can suppress findings.
func (v Verdict) Suppresses() bool { return slices.Contains([]Verdict{"false_positive", "benign"}, v) }

// suppresses reports whether a asks for nothing that a suppression cannot be.
func (a Approval) suppresses() bool {
	if a.Until == 0 {
		return true
	}
	d := a.Until.Sub(a.Time)
	return a.Decision == Close && a.Verdict.Suppresses() && d > 0 && d <= MaxSuppression
}
