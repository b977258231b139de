package event

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// AppendJSON appends e to dst as one line of JSON without a newline: fields in
// the order of the struct, missing ones left out, times as RFC 3339 in UTC.
// [Decoder.Decode] reads the same event back.
func (e *Event) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"time":"`...)
	dst = e.Time.Append(dst)
	dst = append(dst, `","event.name":`...)
	dst = appendString(dst, string(e.Name))
	dst = append(dst, `,"gen_ai.agent.id":`...)
	dst = appendString(dst, e.Agent)

	dst = appendText(dst, fID, e.ID)
	dst = appendText(dst, fSession, e.Session)
	dst = appendInteger(dst, fSeq, e.Seq)
	dst = appendText(dst, fTraceID, e.TraceID)
	dst = appendText(dst, fSpanID, e.SpanID)
	dst = appendText(dst, fTenant, e.Tenant)

	dst = appendText(dst, fRole, e.Role)
	dst = appendText(dst, fVersion, e.Version)
	dst = appendText(dst, fModel, e.Model)
	dst = appendText(dst, fParent, e.Parent)

	dst = appendText(dst, fUser, e.User)
	dst = appendList(dst, fChain, e.Chain)
	dst = appendList(dst, fPrincipalScopes, e.PrincipalScopes)

	dst = appendText(dst, fCredentialID, e.CredentialID)
	dst = appendText(dst, fCredentialIssuer, e.CredentialIssuer)
	dst = appendText(dst, fCredentialSubject, e.CredentialSubject)
	dst = appendList(dst, fCredentialScopes, e.CredentialScopes)
	if e.CredentialExpires != 0 {
		dst = append(appendKey(dst, fCredentialExpires), '"')
		dst = append(e.CredentialExpires.Append(dst), '"')
	}

	dst = appendText(dst, fTool, e.Tool)
	dst = appendText(dst, fCallID, e.CallID)
	dst = appendText(dst, fToolHash, e.ToolHash)
	dst = appendText(dst, fServer, e.Server)
	dst = appendText(dst, fMethod, e.Method)

	dst = appendText(dst, fEffect, e.Effect)
	dst = appendText(dst, fPrivilege, e.Privilege)
	dst = appendText(dst, fResource, e.Resource)
	dst = appendText(dst, fSensitivity, e.Sensitivity)
	dst = appendText(dst, fDestination, e.Destination)

	dst = appendList(dst, fArgKeys, e.ArgKeys)
	dst = appendObject(dst, fArgOrigins, e.ArgOrigins, appendString)
	dst = appendObject(dst, fArgSources, e.ArgSources, appendString)
	dst = appendObject(dst, fArgHashes, e.ArgHashes, appendItems)

	dst = appendText(dst, fTrust, e.Trust)
	dst = appendList(dst, fIntents, e.Intents)

	dst = appendText(dst, fOrigin, e.Origin)
	dst = appendText(dst, fHash, e.Hash)
	dst = appendText(dst, fSimhash, e.Simhash)
	dst = appendText(dst, fStore, e.Store)
	dst = appendText(dst, fRecord, e.Record)

	dst = appendInteger(dst, fInputTokens, e.InputTokens)
	dst = appendInteger(dst, fOutputTokens, e.OutputTokens)
	dst = appendFloat(dst, fCost, e.Cost)
	dst = appendInteger(dst, fBytes, e.Bytes)
	dst = appendFloat(dst, fDuration, e.Duration)
	dst = appendText(dst, fErrorType, e.ErrorType)

	dst = appendText(dst, fDelegate, e.Delegate)
	dst = appendList(dst, fDelegateScopes, e.DelegateScopes)
	return append(dst, '}')
}

// MarshalJSON writes what [Event.AppendJSON] appends.
func (e Event) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// UnmarshalJSON reads what [Decoder.Decode] reads, but into memory of its own.
func (e *Event) UnmarshalJSON(line []byte) error {
	return new(Decoder).Decode(bytes.Clone(line), e)
}

func appendKey(dst []byte, f field) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, fieldNames[f]...)
	return append(dst, '"', ':')
}

func appendText[T ~string](dst []byte, f field, s T) []byte {
	if s == "" {
		return dst
	}
	return appendString(appendKey(dst, f), s)
}

func appendInteger(dst []byte, f field, v Opt[int64]) []byte {
	if !v.OK {
		return dst
	}
	return strconv.AppendInt(appendKey(dst, f), v.V, 10)
}

// appendFloat leaves out what JSON has no number for.
func appendFloat(dst []byte, f field, v Opt[float64]) []byte {
	if !v.OK || math.IsNaN(v.V) || math.IsInf(v.V, 0) {
		return dst
	}
	format := byte('f')
	if abs := math.Abs(v.V); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(appendKey(dst, f), v.V, format, -1, 64)
}

func appendList[T ~string](dst []byte, f field, list []T) []byte {
	if len(list) == 0 {
		return dst
	}
	return appendItems(appendKey(dst, f), list)
}

func appendItems[T ~string](dst []byte, list []T) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

func appendObject[T any](dst []byte, f field, o Object[T], value func([]byte, T) []byte) []byte {
	if len(o) == 0 {
		return dst
	}
	dst = append(appendKey(dst, f), '{')
	for i := range o {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, o[i].Key), ':')
		dst = value(dst, o[i].Value)
	}
	return append(dst, '}')
}

// AppendString appends s as a JSON string, with U+FFFD for what is not UTF-8.
func AppendString(dst []byte, s string) []byte { return appendString(dst, s) }

// appendString is [AppendString] of any string.
func appendString[T ~string](dst []byte, s T) []byte {
	const digits = "0123456789abcdef"
	short := [' ']byte{'\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r'}
	i := plain(string(s))
	dst = append(append(dst, '"'), s[:i]...)
	for i < len(s) {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(string(s[i:]))
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' && short[c] != 0:
			dst = append(dst, '\\', short[c])
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}

// plain returns how many bytes of s come before the first that [special] marks.
func plain(s string) int {
	b, i := unsafe.Slice(unsafe.StringData(s), len(s)), 0
	for ; i+8 <= len(b); i += 8 {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	if len(b) >= 8 && special(binary.LittleEndian.Uint64(b[len(b)-8:])) == 0 {
		return len(b)
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i]-' ' < utf8.RuneSelf-' ' {
		i++
	}
	return i
}
