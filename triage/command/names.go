package command

import "strings"

// Names of what [Provision] makes on NATS.
const (
	Actions = "ACTIONS" // stream of actions and of their outcomes
	Acks    = "ACKS"    // stream of executors' answers and operators' approvals

	PostureBucket  = "posture" // current standing by agent: the only one that enforcement points read
	IncidentBucket = "incidents"
	ActionBucket   = "actions"  // how far every action has come, and the guards' counts
	ExecutedBucket = "executed" // which actions an executor has begun
)

// Keys of what a decision can be about.
const (
	recordPrefix      = "action."      // of ActionBucket
	incidentPrefix    = "incident."    // of IncidentBucket
	suppressionPrefix = "suppression." // of IncidentBucket
)

// ActionKey is where it stands in [ActionBucket] how far an action has come.
func ActionKey(id string) string { return recordPrefix + id }

// IncidentKey is where an incident stands in [IncidentBucket].
func IncidentKey(id string) string { return incidentPrefix + id }

// SuppressionKey is where a suppression stands in [IncidentBucket].
func SuppressionKey(id string) string { return suppressionPrefix + id }

const (
	actionPrefix   = "stakeout.action."
	outcomePrefix  = "stakeout.outcome."
	ackPrefix      = "stakeout.ack."
	approvalPrefix = "stakeout.approval."
)

// ActionSubject is where an action of kind k against the agent is commanded.
func ActionSubject(k Kind, agent string) string { return actionPrefix + string(k) + "." + Token(agent) }

// KindSubject matches the subjects of all actions of kind k.
func KindSubject(k Kind) string { return actionPrefix + string(k) + ".*" }

// OutcomeSubject is where triage records what became of the action.
func OutcomeSubject(action string) string { return outcomePrefix + action }

// AckSubject is where an executor answers for the action.
func AckSubject(action string) string { return ackPrefix + action }

// ApprovalSubject is where an operator decides on the action.
func ApprovalSubject(action string) string { return approvalPrefix + action }

// ExecutorConsumer names the durable consumer of [Actions] that hands out the commands of kind k.
func ExecutorConsumer(k Kind) string { return "executor-" + string(k) }

// Names of the other durable consumers.
const (
	TriageConsumer = "triage" // of Acks
	StoreConsumer  = "store"  // of Actions: outcomes
	CaseConsumer   = "cases"  // of Actions: cases
	AuditConsumer  = "audit"  // of Actions and of Acks: everything
)

// Token turns any id into one NATS subject token and KV key: every byte outside
// [A-Za-z0-9_-] becomes =XX. Different ids give different tokens; the empty id gives "=".
func Token(id string) string {
	if id == "" {
		return "="
	}
	plain := true
	for i := 0; i < len(id) && plain; i++ {
		plain = tokenByte(id[i])
	}
	if plain {
		return id
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(id) + 16)
	for i := range len(id) {
		if c := id[i]; tokenByte(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'=', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func tokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// validID reports whether id can be the id of an action: it is its own token, and short.
func validID(id string) bool {
	return id != "" && len(id) <= maxID && Token(id) == id
}

// validKind reports whether k can stand in a subject.
func validKind(k Kind) bool { return validID(string(k)) }
