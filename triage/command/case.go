package command

import (
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Case is what triage tells of an incident each time it changes.
type Case struct {
	Incident    Incident        `json:"incident"`
	Change      Change          `json:"change"`
	Disposition *Disposition    `json:"disposition,omitempty"` // of the finding that changed it
	Suppression *Suppression    `json:"suppression,omitempty"` // that began or ended
	Draft       *Draft          `json:"draft,omitempty"`       // by a model
	Time        event.Timestamp `json:"time"`
}

// Change is what became of an incident.
type Change string

// The changes.
const (
	Grown    Change = "grown" // by a finding; the first one opens it
	Closed   Change = "closed"
	Reopened Change = "reopened"
	Merged   Change = "merged" // with another one

	Acknowledged Change = "acknowledged" // a person has decided on one of its actions
	Suppressed   Change = "suppressed"   // findings like it are not acted on for a while
	Unsuppressed Change = "unsuppressed" // they are again
	Drafted      Change = "drafted"      // a model wrote about one of its findings; nothing else changed
)

// An Incident is findings that belong together.
type Incident struct {
	ID       string          `json:"id"`
	Agent    string          `json:"agent"`
	Session  string          `json:"session,omitempty"`
	Open     bool            `json:"open"` // and there is something in it to look at
	Severity int             `json:"severity_id"`
	First    event.Timestamp `json:"first"` // time of the first finding's event
	Last     event.Timestamp `json:"last"`  // latest time of an event
	Count    uint64          `json:"count"` // of findings

	Suppressed uint64 `json:"suppressed,omitempty"` // of these, those that nothing was done about

	Risk *Risk `json:"risk,omitempty"` // the highest of its agents, when a finding of it came

	Agents       []string        `json:"agents,omitempty"` // the first ones of those in it
	AgentCount   int             `json:"agent_count,omitempty"`
	Entities     []Entity        `json:"entities,omitempty"`     // the first ones of what its findings are about
	Into         string          `json:"into,omitempty"`         // id of the incident it became part of
	Merged       []string        `json:"merged,omitempty"`       // ids of those that became part of it
	Acknowledged event.Timestamp `json:"acknowledged,omitempty"` // when a person first decided on it or on one of its actions
	Turned       event.Timestamp `json:"turned,omitempty"`       // when it was last closed or reopened

	Revision uint64 `json:"revision,omitempty"` // grows with every change: of two that are told, the higher one stands

	Threats   []string `json:"threats,omitempty"`
	Detectors []string `json:"detectors,omitempty"`
	Verdict   Verdict  `json:"verdict,omitempty"` // of the person who closed it
	By        string   `json:"by,omitempty"`      // public key of the operator who closed or reopened it
	Why       string   `json:"why,omitempty"`
}

// An Entity is something that findings of one incident share.
type Entity struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Verdict is what a person found an incident to be, by the names of OCSF.
type Verdict string

// Verdicts lists those that an operator can give.
func Verdicts() []Verdict {
	return []Verdict{"true_positive", "false_positive", "benign", "suspicious", "disregard", "test", "insufficient_data", "duplicate"}
}

// A Disposition is the first look at a finding, written before a person sees it:
// what to ask of the data, what to think of it, what to do. The same finding in
// the same incident always gets the same one.
type Disposition struct {
	Finding  string   `json:"finding"` // id
	Detector string   `json:"detector"`
	Query    []string `json:"query"` // what was asked of the data, and what it said
	Think    []string `json:"think"` // observed against baseline, and other explanations
	Report   Report   `json:"report"`

	Risk *Risk `json:"risk,omitempty"` // of the agent when the finding came

	Suppression string `json:"suppression,omitempty"` // id of the one because of which nothing is done about it
}

// A Report is what a disposition comes to.
type Report struct {
	Verdict    Verdict  `json:"verdict"`    // suspicious, or insufficient_data
	Confidence string   `json:"confidence"` // low, medium or high
	Recommend  []string `json:"recommend"`  // what the policy does about it, and what is left to a person
	Breaks     []string `json:"breaks"`     // what that would break
}

// A Draft is what a model wrote about a finding. Nobody has verified it, and
// nothing is decided by it: it is there to be read by a person beside the disposition.
type Draft struct {
	Finding string `json:"finding"` // id
	Model   string `json:"model"`   // by the name that the operator gave
	Text    string `json:"text"`    // one line
}

// Bounds of a draft, in bytes.
const (
	MaxDraft = 2 << 10 // of its text
	MaxModel = 128     // of the model's name
)

func (d *Draft) ok() bool {
	return d.Finding != "" && d.Model != "" && d.Text != "" && len(d.Model) <= MaxModel && len(d.Text) <= MaxDraft
}

const (
	casePrefix = "stakeout.case."
	// CaseType is the type of a case's CloudEvent.
	CaseType = "dev.stakeout.case.v1"
)

// CaseSubject is where triage tells of the incident.
func CaseSubject(incident string) string { return casePrefix + incident }

// EncodeCase makes the message of a case. Its id tells apart every change, so
// that one that is told again is dropped.
func EncodeCase(s *Signer, c Case, id string) (*nats.Msg, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	m, err := seal(s, CaseSubject(c.Incident.ID), envelope{
		ID: id, Source: source(Triage), Type: CaseType, Subject: c.Incident.Agent, Time: c.Time,
	}, c)
	if err != nil {
		return nil, err
	}
	m.Header.Set(nats.MsgIdHdr, id)
	return m, nil
}

// ParseCase believes a case only if triage signed it.
func ParseCase(k Keyring, m Message) (Case, error) {
	_, c, _, err := unseal[Case](k, Triage, m, CaseType, casePrefix)
	if err != nil {
		return Case{}, err
	}
	if err := c.check(); err != nil {
		return Case{}, err
	}
	if m.Subject != CaseSubject(c.Incident.ID) {
		return Case{}, fmt.Errorf("%s: subject and content disagree: %w", CaseType, ErrMalformed)
	}
	return c, nil
}

func (c Case) check() error {
	switch {
	case !validID(c.Incident.ID) || c.Incident.Agent == "":
		return fmt.Errorf("%s: incident: %w", CaseType, ErrMalformed)
	case !slices.Contains([]Change{Grown, Closed, Reopened, Merged, Acknowledged, Suppressed, Unsuppressed, Drafted}, c.Change):
		return fmt.Errorf("%s: change is %.20q: %w", CaseType, c.Change, ErrMalformed)
	case c.Suppression != nil && !validID(c.Suppression.ID):
		return fmt.Errorf("%s: suppression: %w", CaseType, ErrMalformed)
	case c.Disposition != nil && c.Disposition.Finding == "":
		return fmt.Errorf("%s: disposition of no finding: %w", CaseType, ErrMalformed)
	case (c.Change == Drafted) != (c.Draft != nil), c.Draft != nil && (!c.Draft.ok() || c.Disposition != nil || c.Suppression != nil):
		return fmt.Errorf("%s: draft: %w", CaseType, ErrMalformed)
	}
	return nil
}
