package event

// A field is one of an event's fields, numbered in the order of the struct.
type field uint8

const (
	fTime field = iota
	fName
	fAgent
	fID
	fSession
	fSeq
	fTraceID
	fSpanID
	fTenant
	fRole
	fVersion
	fModel
	fParent
	fUser
	fChain
	fPrincipalScopes
	fCredentialID
	fCredentialIssuer
	fCredentialSubject
	fCredentialScopes
	fCredentialExpires
	fTool
	fCallID
	fToolHash
	fServer
	fMethod
	fEffect
	fPrivilege
	fResource
	fSensitivity
	fDestination
	fArgKeys
	fArgOrigins
	fArgSources
	fArgHashes
	fTrust
	fIntents
	fOrigin
	fHash
	fSimhash
	fStore
	fRecord
	fInputTokens
	fOutputTokens
	fCost
	fBytes
	fDuration
	fErrorType
	fDelegate
	fDelegateScopes

	fLine // the line as a whole, and every field that is not ours
)

// String returns the field's name on the wire.
func (f field) String() string { return fieldNames[f] }

var fieldNames = [...]string{
	fTime:              "time",
	fName:              "event.name",
	fAgent:             "gen_ai.agent.id",
	fID:                "event.id",
	fSession:           "gen_ai.conversation.id",
	fSeq:               "stakeout.seq",
	fTraceID:           "trace_id",
	fSpanID:            "span_id",
	fTenant:            "stakeout.tenant",
	fRole:              "gen_ai.agent.name",
	fVersion:           "gen_ai.agent.version",
	fModel:             "gen_ai.request.model",
	fParent:            "stakeout.agent.parent",
	fUser:              "user.id",
	fChain:             "stakeout.chain",
	fPrincipalScopes:   "stakeout.principal.scopes",
	fCredentialID:      "stakeout.credential.id",
	fCredentialIssuer:  "stakeout.credential.issuer",
	fCredentialSubject: "stakeout.credential.subject",
	fCredentialScopes:  "stakeout.credential.scopes",
	fCredentialExpires: "stakeout.credential.expires",
	fTool:              "gen_ai.tool.name",
	fCallID:            "gen_ai.tool.call.id",
	fToolHash:          "stakeout.tool.hash",
	fServer:            "server.address",
	fMethod:            "mcp.method.name",
	fEffect:            "stakeout.effect",
	fPrivilege:         "stakeout.privilege",
	fResource:          "stakeout.resource",
	fSensitivity:       "stakeout.sensitivity",
	fDestination:       "stakeout.destination",
	fArgKeys:           "stakeout.arg.keys",
	fArgOrigins:        "stakeout.arg.origins",
	fArgSources:        "stakeout.arg.sources",
	fArgHashes:         "stakeout.arg.hashes",
	fTrust:             "stakeout.trust",
	fIntents:           "stakeout.intents",
	fOrigin:            "stakeout.origin",
	fHash:              "stakeout.hash",
	fSimhash:           "stakeout.simhash",
	fStore:             "gen_ai.memory.store.id",
	fRecord:            "gen_ai.memory.record.id",
	fInputTokens:       "gen_ai.usage.input_tokens",
	fOutputTokens:      "gen_ai.usage.output_tokens",
	fCost:              "stakeout.cost",
	fBytes:             "stakeout.bytes",
	fDuration:          "stakeout.duration",
	fErrorType:         "error.type",
	fDelegate:          "stakeout.delegate",
	fDelegateScopes:    "stakeout.delegate.scopes",
	fLine:              LineField,
}

// FieldNames returns the names of all fields, in canonical order: everything
// that [Error.Field] can be, but for [LineField].
func FieldNames() []string { return append([]string(nil), fieldNames[:fLine]...) }

// fieldKeys are the names as members of an object begin that leave white space out.
// fLine has none.
var fieldKeys = quoteNames()

func quoteNames() (keys [fLine + 1]string) {
	for f := range fLine {
		keys[f] = `"` + fieldNames[f] + `":`
	}
	return keys
}

// fieldSlots finds a field by a hash of its name that sends no two of them to
// one slot. Where a new name collides, TestFieldOf says so and prints a factor
// that fits.
var fieldSlots = fillSlots()

const (
	slotBits   = 7
	slotFactor = 0x3592ed91
)

func fillSlots() (slots [1 << slotBits]field) {
	for i := range slots {
		slots[i] = fLine
	}
	for f := range fLine {
		slots[slotOf(fieldNames[f], slotFactor)] = f
	}
	return slots
}

// slotOf hashes the last four bytes of a name, its middle and its length. The name has four bytes at least.
func slotOf(name string, factor uint32) uint32 {
	tail := name[len(name)-4:]
	x := uint32(tail[0]) | uint32(tail[1])<<8 | uint32(tail[2])<<16 | uint32(tail[3])<<24
	x ^= uint32(name[len(name)/2])<<8 ^ uint32(len(name))*0x01010101
	return x * factor >> (32 - slotBits)
}

// fieldOf returns the field called name, or fLine.
func fieldOf(name string) field {
	if len(name) < len("time") {
		return fLine
	}
	if f := fieldSlots[slotOf(name, slotFactor)]; fieldNames[f] == name && f != fLine {
		return f
	}
	return fLine
}
