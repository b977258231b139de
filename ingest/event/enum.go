package event

import "strings"

// Names returns every name that an event may have, in the order of their declaration.
func Names() []Name {
	return []Name{
		SessionStart, SessionEnd, UserMessage, ModelCall, ToolCall, ToolResult, AgentMessage, MemoryRead,
		MemoryWrite, MemoryDelete, Delegation, CredentialIssue, CredentialUse, ToolDefinition, ConfigChange, Heartbeat,
	}
}

// Effects returns every effect, mildest first.
func Effects() []Effect {
	return []Effect{Read, Fetch, Write, Send, Share, Delete, Money, Execute, Auth}
}

// Sensitivities returns every sensitivity, lowest first.
func Sensitivities() []Sensitivity {
	return []Sensitivity{Public, Internal, Confidential, Restricted}
}

// Origins returns every origin.
func Origins() []Origin {
	return []Origin{FromUser, FromSystem, FromTool, FromUntrusted, FromMemory, FromModel}
}

// Trusts returns both degrees of trust.
func Trusts() []Trust { return []Trust{Trusted, Untrusted} }

const kindBits = 5

// kindOf numbers the names, which have eight bytes at least, such that no two have
// one number. TestKindOf says where a new name collides.
func kindOf(n Name) uint8 { return (n[7]<<1 + uint8(len(n))) % (1 << kindBits) }

// The functions below return the constant that s spells, which does not point
// into the line, or "" where there is none.

func nameOf(s string) Name {
	switch Name(s) {
	case SessionStart:
		return SessionStart
	case SessionEnd:
		return SessionEnd
	case UserMessage:
		return UserMessage
	case ModelCall:
		return ModelCall
	case ToolCall:
		return ToolCall
	case ToolResult:
		return ToolResult
	case AgentMessage:
		return AgentMessage
	case MemoryRead:
		return MemoryRead
	case MemoryWrite:
		return MemoryWrite
	case MemoryDelete:
		return MemoryDelete
	case Delegation:
		return Delegation
	case CredentialIssue:
		return CredentialIssue
	case CredentialUse:
		return CredentialUse
	case ToolDefinition:
		return ToolDefinition
	case ConfigChange:
		return ConfigChange
	case Heartbeat:
		return Heartbeat
	}
	return ""
}

func effectOf(s string) Effect {
	switch Effect(s) {
	case Read:
		return Read
	case Fetch:
		return Fetch
	case Write:
		return Write
	case Send:
		return Send
	case Share:
		return Share
	case Delete:
		return Delete
	case Money:
		return Money
	case Execute, "exec": // "exec" is what coding agents' shippers say
		return Execute
	case Auth:
		return Auth
	}
	return ""
}

func sensitivityOf(s string) Sensitivity {
	switch Sensitivity(s) {
	case Public:
		return Public
	case Internal:
		return Internal
	case Confidential:
		return Confidential
	case Restricted:
		return Restricted
	}
	return ""
}

func originOf(s string) Origin {
	switch Origin(s) {
	case FromUser:
		return FromUser
	case FromSystem:
		return FromSystem
	case FromTool:
		return FromTool
	case FromUntrusted:
		return FromUntrusted
	case FromMemory:
		return FromMemory
	case FromModel:
		return FromModel
	}
	return ""
}

func trustOf(s string) Trust {
	switch Trust(s) {
	case Trusted:
		return Trusted
	case Untrusted:
		return Untrusted
	}
	return ""
}

// join lists names for an error.
func join[T ~string](names []T) string {
	s := make([]string, len(names))
	for i, n := range names {
		s[i] = string(n)
	}
	return strings.Join(s, ", ")
}
