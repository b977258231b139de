// Package event is the schema of what agents' logs say: one flat JSON object
// per thing an agent did.
//
// Names are OpenTelemetry's where OpenTelemetry has one; ours start with
// "stakeout.". An event is metadata only: sizes, hashes, names and origins,
// never the content of a prompt or a result, never a credential. Unknown fields
// are counted and left out, so content that a shipper sends by mistake ends here.
package event

//go:generate go test -run=TestSchemaIsTheTypes . -args -update

// An Event is one thing an agent did.
//
// Every field but the first three may be missing: a missing string is empty, a
// missing list nil, a missing number not OK. The strings of a decoded event
// point into the line they were decoded from; see [Decoder.Decode].
type Event struct {
	Time  Timestamp `json:"time" jsonschema:"when it happened, by the agent's clock: RFC 3339 with fraction, or integer Unix nanoseconds"`
	Name  Name      `json:"event.name" jsonschema:"what happened"`
	Agent string    `json:"gen_ai.agent.id" jsonschema:"the acting agent: the key of every baseline, of the Kafka record and of the posture"`

	ID      string     `json:"event.id,omitempty" jsonschema:"unique per agent; where absent, topic/partition/offset of the raw record stands in"`
	Session string     `json:"gen_ai.conversation.id,omitempty" jsonschema:"session"`
	Seq     Opt[int64] `json:"stakeout.seq,omitempty" jsonschema:"per-session sequence number: a gap is lost or removed telemetry"`
	TraceID string     `json:"trace_id,omitempty" jsonschema:"OpenTelemetry trace id: the chain back to the triggering request"`
	SpanID  string     `json:"span_id,omitempty" jsonschema:"OpenTelemetry span id"`
	Tenant  string     `json:"stakeout.tenant,omitempty" jsonschema:"tenant; with the role it names the peer group"`

	Role    string `json:"gen_ai.agent.name,omitempty" jsonschema:"role; with the tenant it names the peer group"`
	Version string `json:"gen_ai.agent.version,omitempty" jsonschema:"build of the agent; a change is a deployment, not an anomaly in itself"`
	Model   string `json:"gen_ai.request.model,omitempty" jsonschema:"model asked; a change is a deployment, not an anomaly in itself"`
	Parent  string `json:"stakeout.agent.parent,omitempty" jsonschema:"the agent that spawned this one"`

	User            string   `json:"user.id,omitempty" jsonschema:"principal on whose behalf the agent acts"`
	Chain           []string `json:"stakeout.chain,omitempty" jsonschema:"delegation chain, outermost first, as in RFC 8693 act"`
	PrincipalScopes []string `json:"stakeout.principal.scopes,omitempty" jsonschema:"what the principal is entitled to, where known"`

	CredentialID      string    `json:"stakeout.credential.id,omitempty" jsonschema:"token id (jti) or keyed hash; never the token"`
	CredentialIssuer  string    `json:"stakeout.credential.issuer,omitempty" jsonschema:"issuer of the token"`
	CredentialSubject string    `json:"stakeout.credential.subject,omitempty" jsonschema:"subject of the token"`
	CredentialScopes  []string  `json:"stakeout.credential.scopes,omitempty" jsonschema:"scopes of the token"`
	CredentialExpires Timestamp `json:"stakeout.credential.expires,omitempty" jsonschema:"when the token expires"`

	Tool     string `json:"gen_ai.tool.name,omitempty" jsonschema:"tool"`
	CallID   string `json:"gen_ai.tool.call.id,omitempty" jsonschema:"tool call"`
	ToolHash string `json:"stakeout.tool.hash,omitempty" jsonschema:"hash of the tool's definition as the agent saw it (description and schema), hexadecimal"`
	Server   string `json:"server.address,omitempty" jsonschema:"server behind the tool"`
	Method   string `json:"mcp.method.name,omitempty" jsonschema:"MCP method"`

	Effect      Effect      `json:"stakeout.effect,omitempty" jsonschema:"what the call can do to the world"`
	Privilege   string      `json:"stakeout.privilege,omitempty" jsonschema:"privilege exercised, resource-type:verb, such as crm:export"`
	Resource    string      `json:"stakeout.resource,omitempty" jsonschema:"resource touched"`
	Sensitivity Sensitivity `json:"stakeout.sensitivity,omitempty" jsonschema:"how sensitive the resource is"`
	Destination string      `json:"stakeout.destination,omitempty" jsonschema:"where data goes (host, address, account), or its keyed hash"`

	ArgKeys    []string         `json:"stakeout.arg.keys,omitempty" jsonschema:"argument names"`
	ArgOrigins Object[Origin]   `json:"stakeout.arg.origins,omitempty" jsonschema:"argument -> where its value first became visible"`
	ArgSources Object[string]   `json:"stakeout.arg.sources,omitempty" jsonschema:"argument -> tool whose result it came from"`
	ArgHashes  Object[[]string] `json:"stakeout.arg.hashes,omitempty" jsonschema:"argument -> keyed hashes of its values"`

	Trust   Trust    `json:"stakeout.trust,omitempty" jsonschema:"trust in the content that enters the agent with this event"`
	Intents []Effect `json:"stakeout.intents,omitempty" jsonschema:"effects that the user's message asks for, where the shipper can tell"`

	Origin  Origin `json:"stakeout.origin,omitempty" jsonschema:"origin of a memory record's content"`
	Hash    string `json:"stakeout.hash,omitempty" jsonschema:"hash of a memory record's content, hexadecimal"`
	Simhash string `json:"stakeout.simhash,omitempty" jsonschema:"similarity hash of a memory record's content, hexadecimal"`
	Store   string `json:"gen_ai.memory.store.id,omitempty" jsonschema:"memory store"`
	Record  string `json:"gen_ai.memory.record.id,omitempty" jsonschema:"memory record"`

	InputTokens  Opt[int64]   `json:"gen_ai.usage.input_tokens,omitempty" jsonschema:"tokens read, cached ones included"`
	OutputTokens Opt[int64]   `json:"gen_ai.usage.output_tokens,omitempty" jsonschema:"tokens written, reasoning included"`
	Cost         Opt[float64] `json:"stakeout.cost,omitempty" jsonschema:"cost in USD"`
	Bytes        Opt[int64]   `json:"stakeout.bytes,omitempty" jsonschema:"size of the content, or of what the call sent out, in bytes"`
	Duration     Opt[float64] `json:"stakeout.duration,omitempty" jsonschema:"duration in seconds"`
	ErrorType    string       `json:"error.type,omitempty" jsonschema:"set when the operation failed"`

	Delegate       string   `json:"stakeout.delegate,omitempty" jsonschema:"of a delegation: to whom"`
	DelegateScopes []string `json:"stakeout.delegate.scopes,omitempty" jsonschema:"of a delegation: with which scopes"`
}

// Name says what happened.
type Name string

// The names an event may have.
const (
	SessionStart    Name = "session.start"
	SessionEnd      Name = "session.end"
	UserMessage     Name = "user.message"
	ModelCall       Name = "model.call"
	ToolCall        Name = "tool.call"
	ToolResult      Name = "tool.result"
	AgentMessage    Name = "agent.message"
	MemoryRead      Name = "memory.read"
	MemoryWrite     Name = "memory.write"
	MemoryDelete    Name = "memory.delete"
	Delegation      Name = "delegation"
	CredentialIssue Name = "credential.issue"
	CredentialUse   Name = "credential.use"
	ToolDefinition  Name = "tool.definition"
	ConfigChange    Name = "config.change"
	Heartbeat       Name = "heartbeat"
)

// Effect is what a call can do to the world.
type Effect string

// The effects, mildest first.
const (
	Read    Effect = "read"
	Fetch   Effect = "fetch"
	Write   Effect = "write"
	Send    Effect = "send"
	Share   Effect = "share"
	Delete  Effect = "delete"
	Money   Effect = "money"
	Execute Effect = "execute"
	Auth    Effect = "auth"
)

// Changes reports whether e can change the world outside the agent: every effect but reading and fetching.
func (e Effect) Changes() bool { return e != "" && e != Read && e != Fetch }

// Sensitivity is how sensitive a resource is.
type Sensitivity string

// The sensitivities, lowest first.
const (
	Public       Sensitivity = "public"
	Internal     Sensitivity = "internal"
	Confidential Sensitivity = "confidential"
	Restricted   Sensitivity = "restricted"
)

// Origin is where a value first became visible to the agent.
type Origin string

// The origins.
const (
	FromUser      Origin = "user"
	FromSystem    Origin = "system"
	FromTool      Origin = "tool"
	FromUntrusted Origin = "untrusted"
	FromMemory    Origin = "memory"
	FromModel     Origin = "model"
)

// Trust is trust in the content that enters the agent with an event.
type Trust string

// The two degrees of trust.
const (
	Trusted   Trust = "trusted"
	Untrusted Trust = "untrusted"
)

// Opt is a number that may be missing.
type Opt[T int64 | float64] struct {
	V  T
	OK bool
}

// Some returns the number v, present.
func Some[T int64 | float64](v T) Opt[T] { return Opt[T]{V: v, OK: true} }

// Object is a JSON object of few members, in the order in which they stood.
type Object[T any] []Member[T]

// Member is one member of an [Object].
type Member[T any] struct {
	Key   string
	Value T
}

// Lookup returns the value of the first member named key, and whether there is one.
func (o Object[T]) Lookup(key string) (v T, ok bool) {
	for i := range o {
		if o[i].Key == key {
			return o[i].Value, true
		}
	}
	return v, false
}
