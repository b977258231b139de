package detect

import "github.com/stakeout-project/stakeout/ingest/event"

// A Finding is one detector's claim about one event, with everything a person
// needs to check it.
type Finding struct {
	ID       string          `json:"id"` // from detector, agent and event: stable, so a replay adds nothing
	Detector string          `json:"detector"`
	Threat   string          `json:"threat"` // row of the threat table, such as "privilege-drift"
	Severity Severity        `json:"severity_id"`
	Time     event.Timestamp `json:"time"` // of the event judged

	Agent      string     `json:"agent"`
	Role       string     `json:"role,omitempty"`
	Tenant     string     `json:"tenant,omitempty"`
	Session    string     `json:"session,omitempty"`
	User       string     `json:"user,omitempty"`
	Parent     string     `json:"parent,omitempty"`    // the agent that spawned this one, where the log names it
	Credential Credential `json:"credential,omitzero"` // that the session acted with: what containment can address

	Reason   string   `json:"reason"`            // one sentence for a person
	Observed string   `json:"observed"`          // what was seen
	Baseline string   `json:"baseline"`          // against what is normal for this agent
	Did      Act      `json:"did,omitzero"`      // what the event judged did, where one alone was
	Novel    []string `json:"novel,omitempty"`   // what the event did for the first time, as the agent's profile remembers it: what a verdict can make it forget
	Nearest  []string `json:"nearest,omitempty"` // the privileges most like the one exercised that are normal for this agent, three at most
	Normal   string   `json:"normal,omitempty"`  // what would make it normal
	PValue   float64  `json:"p_value"`           // probability of something at least this odd from the agent as it is known; 0, with a level of 0, where a rule was broken and chance has no part in it
	Level    float64  `json:"level"`             // the p-value below which the budget let this become a finding
	Event    string   `json:"event"`             // id of the event judged
	Evidence []string `json:"evidence"`          // ids of the events the claim rests on, oldest first, the one judged last

	Entities []Entity `json:"entities,omitempty"` // what else the claim is about, by which findings belong together; the credential needs no entry

	ASI   []string `json:"asi"`   // OWASP Top 10 for Agentic Applications 2026
	ATLAS []string `json:"atlas"` // MITRE ATLAS techniques

	Rules string `json:"rules"` // version of the rules in force
}

// An Act is what an agent did with one event, by its names.
type Act struct {
	Tool        string       `json:"tool,omitempty"`
	Privilege   string       `json:"privilege,omitempty"`
	Effect      event.Effect `json:"effect,omitempty"`
	Destination string       `json:"destination,omitempty"`
}

// Credential names a token without holding it.
type Credential struct {
	ID      string `json:"id,omitempty"` // jti or keyed hash
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
}

// An Entity is something that several sessions or agents can share.
type Entity struct {
	Kind EntityKind `json:"kind"`
	Name string     `json:"name"`
}

// EntityKind says what an entity is.
type EntityKind string

// The kinds of entity. A credential and a memory record have few users, so that
// findings about the same one belong together for long; a tool, a principal and a destination have many.
const (
	CredentialEntity  EntityKind = "credential"
	MemoryEntity      EntityKind = "memory" // store and record
	ToolEntity        EntityKind = "tool"
	PrincipalEntity   EntityKind = "principal"
	DestinationEntity EntityKind = "destination"
)

// Severity is OCSF's severity_id.
type Severity int

// The severities of OCSF that a finding may have.
const (
	Informational Severity = 1
	Low           Severity = 2
	Medium        Severity = 3
	High          Severity = 4
	Critical      Severity = 5
)

// String returns OCSF's caption in lower case.
func (s Severity) String() string {
	switch s {
	case Informational:
		return "informational"
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	case Critical:
		return "critical"
	}
	return "unknown"
}
