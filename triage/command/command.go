// Package command is what passes between triage and executors: actions to take
// and what became of them, as signed CloudEvents on NATS.
//
// It is a leaf, so that an executor, a store or an enforcement point can use it
// without the rest of triage.
package command

import "github.com/stakeout-project/stakeout/ingest/event"

// Kind is what an action does.
type Kind string

// The kinds of action, mildest first. Those that are marked as postures are
// carried out by enforcement points, the others by executors.
const (
	Canary           Kind = "canary"            // nothing at all: proves that the whole chain works
	Watch            Kind = "watch"             // posture only: enforcement points may look closer
	Notify           Kind = "notify"            // tell systems: a SOAR, a SIEM, a chat
	Page             Kind = "page"              // wake a person
	Ticket           Kind = "ticket"            // open a ticket, by a signed webhook
	Resolve          Kind = "resolve"           // take back the pages of an incident that is closed
	RiskChange       Kind = "risk_change"       // tell subscribers of shared signals (CAEP) that the level of an agent's risk is another one
	Signal           Kind = "signal"            // tell subscribers of shared signals (CAEP), who end sessions by themselves
	Restrict         Kind = "restrict"          // posture only: enforcement points deny what changes the world
	Suspend          Kind = "suspend"           // posture only: enforcement points deny everything
	RequireApproval  Kind = "require_approval"  // posture: what changes the world needs a person's approval
	BlockTool        Kind = "block_tool"        // posture: some tools are denied
	NarrowScopes     Kind = "narrow_scopes"     // posture: some scopes are left, all others are denied
	TerminateSession Kind = "terminate_session" // posture: everything is denied in one session
	QuarantineMemory Kind = "quarantine_memory" // have a memory record taken out of use, by a signed webhook
	RevokeToken      Kind = "revoke_token"      // RFC 7009, verified by RFC 7662
)

// Kinds lists them.
func Kinds() []Kind {
	return []Kind{Canary, Watch, Notify, Page, Ticket, Resolve, RiskChange, Signal, Restrict, Suspend, RequireApproval, BlockTool, NarrowScopes,
		TerminateSession, QuarantineMemory, RevokeToken}
}

// Contains reports whether an action of kind k takes something away from an agent.
func (k Kind) Contains() bool {
	switch k {
	case Signal, RequireApproval, BlockTool, NarrowScopes, TerminateSession, QuarantineMemory, Restrict, Suspend, RevokeToken:
		return true
	}
	return false
}

// Standing is the posture that an action of kind k consists of; empty where an
// executor carries it out.
func (k Kind) Standing() Standing {
	switch k {
	case Watch, RequireApproval, BlockTool, NarrowScopes, TerminateSession:
		return Watched // and what is narrower: see [Limits]
	case Restrict:
		return Restricted
	case Suspend:
		return Contained
	}
	return ""
}

// Mode is how far an action goes by itself.
type Mode string

// The modes.
const (
	Shadow  Mode = "shadow"  // recorded as what would have been done; nothing is done
	Approve Mode = "approve" // waits for an approver until it expires
	Auto    Mode = "auto"    // commanded at once
)

// Status is how far an action has come.
type Status string

// The statuses. An action ends in verified, unverified, failed,
// rejected, expired, shadowed or undone.
const (
	Shadowed   Status = "shadowed"   // mode shadow: would have been commanded
	Waiting    Status = "waiting"    // mode approve: not decided yet
	Held       Status = "held"       // a guard (budget, stale finding) held it back; a page says so
	Commanded  Status = "commanded"  // on the wire, no answer yet
	Verified   Status = "verified"   // the executor saw the capability gone
	Unverified Status = "unverified" // carried out by its own account, but the capability is still there, or nobody answered
	Failed     Status = "failed"     // the executor could not carry it out
	Rejected   Status = "rejected"   // an approver said no
	Expired    Status = "expired"    // nobody decided in time
	Undone     Status = "undone"     // its lease ended, or an operator undid it
)

// Statuses lists them.
func Statuses() []Status {
	return []Status{Shadowed, Waiting, Held, Commanded, Verified, Unverified, Failed, Rejected, Expired, Undone}
}

// Target names what an action is aimed at. Credentials are named, never held.
type Target struct {
	Agent      string `json:"agent"`
	Session    string `json:"session,omitempty"`
	User       string `json:"user,omitempty"`
	Credential string `json:"credential,omitempty"` // jti or keyed hash
	Issuer     string `json:"issuer,omitempty"`
	Subject    string `json:"subject,omitempty"`
	Tenant     string `json:"tenant,omitempty"`
	Memory     string `json:"memory,omitempty"` // the record that is quarantined
}

// An Action is one step of the response to an incident.
type Action struct {
	ID       string   `json:"id"` // from incident, kind, target and step: stable, so it is commanded once
	Incident string   `json:"incident"`
	Kind     Kind     `json:"kind"`
	Mode     Mode     `json:"mode"`
	Step     int      `json:"step"` // of the policy's ladder, from 0
	Target   Target   `json:"target"`
	Policy   string   `json:"policy"` // name of the policy entry that chose it
	Reason   string   `json:"reason"`
	Findings []string `json:"findings"`
	Severity int      `json:"severity_id,omitempty"` // of the incident so far, as OCSF numbers it
	Claim    *Claim   `json:"claim,omitempty"`       // of the finding that calls for it
	Risk     *Risk    `json:"risk,omitempty"`        // of the agent when it was decided
	Source   string   `json:"source,omitempty"`      // raw topic that the event was read from
	Trust    string   `json:"trust,omitempty"`       // version of the list of trusted sources by which what it rests on was kept apart
	Mixed    bool     `json:"mixed,omitempty"`       // what else it rests on may come from where nobody is trusted to speak for the agent, by the policy that decided it
	Limits   *Limits  `json:"limits,omitempty"`      // of a posture that is narrower than a standing

	Occurred event.Timestamp `json:"occurred"`           // time of the first finding's event
	Ingested event.Timestamp `json:"ingested,omitempty"` // when Kafka took that event in
	Found    event.Timestamp `json:"found,omitempty"`    // when it was judged
	Decided  event.Timestamp `json:"decided"`            // when triage decided
	Expires  event.Timestamp `json:"expires"`            // an executor refuses it after this
}

// A Claim is what a finding says, for those who are told of an action and do not
// read findings.
type Claim struct {
	Finding  string          `json:"finding"` // id
	Detector string          `json:"detector"`
	Threat   string          `json:"threat"`
	Time     event.Timestamp `json:"time"` // of the event judged
	Role     string          `json:"role,omitempty"`
	Tenant   string          `json:"tenant,omitempty"`
	Observed string          `json:"observed"`
	Baseline string          `json:"baseline"`
	Nearest  []string        `json:"nearest,omitempty"` // normal behaviours most like the one observed
	Normal   string          `json:"normal,omitempty"`  // what would make it normal
	PValue   float64         `json:"p_value"`
	ASI      []string        `json:"asi,omitempty"`
	ATLAS    []string        `json:"atlas,omitempty"`
}

// An Outcome is what became of an action so far.
type Outcome struct {
	Action   Action          `json:"action"`
	Status   Status          `json:"status"`
	Detail   string          `json:"detail,omitempty"`   // one sentence: what was verified, or why not
	Executor string          `json:"executor,omitempty"` // public key of the executor that answered
	Approved int             `json:"approved,omitempty"` // of a waiting action: how many have approved it so far
	Quorum   int             `json:"quorum,omitempty"`   // and how many have to, where one is not enough
	Time     event.Timestamp `json:"time"`
}

// An Ack is an executor's answer: what it did and what it then saw.
type Ack struct {
	Action string          `json:"action"` // id
	Status Status          `json:"status"` // verified, unverified or failed
	Detail string          `json:"detail"`
	Time   event.Timestamp `json:"time"`
}
