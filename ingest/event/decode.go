package event

import "strconv"

// What a line may hold at most.
const (
	MaxLine   = 256 << 10 // bytes of a line
	MaxString = 1 << 10   // bytes of a string of ours, after decoding
	MaxItems  = 1 << 10   // items of a list, members of an object
)

// A Decoder reads events from lines of JSON. The zero Decoder is ready to use;
// it allocates nothing once its buffers have grown. It is not for concurrent use.
type Decoder struct {
	scanner
	unknown int
	kind    uint8                           // of event, see [kindOf]; 0 until its name was read
	after   [1 << kindBits][fLine + 1]field // which field stood behind each one in the last event of each kind, and the first behind fLine
	kept    keptLists

	// The lists and objects of the event, so that their memory serves the next one too.
	strings []string
	intents []Effect
	origins Object[Origin]
	sources Object[string]
	hashes  Object[[]string]
}

// Decode reads one event from line, which holds one JSON object and nothing
// else but white space. It overwrites *ev.
//
// The strings, lists and objects of ev point into line and into the decoder:
// they are good until either is used again. Who keeps any of them longer clones it.
//
// The JSON is checked in full. A field of ours that is null, an empty string or
// an empty list is absent; fields that are not ours and values that an
// enumeration does not know are left out and counted, see [Decoder.Unknown].
// Everything else that is wrong is an [*Error], and *ev is then the zero Event.
func (d *Decoder) Decode(line []byte, ev *Event) error {
	*ev = Event{}
	d.scanner = scanner{line: line, at: fLine, scratch: d.scratch[:0]}
	d.unknown, d.kind = 0, 0
	d.kept.turn++
	d.strings, d.intents = d.strings[:0], d.intents[:0]
	d.origins, d.sources, d.hashes = d.origins[:0], d.sources[:0], d.hashes[:0]
	if d.object(ev) && d.end() && d.complete(ev) {
		return nil
	}
	*ev = Event{}
	return d.err
}

// Unknown returns how many fields and values the last Decode left out because it did not know them.
func (d *Decoder) Unknown() int { return d.unknown }

func (d *Decoder) object(ev *Event) bool {
	if len(d.line) > MaxLine {
		return d.fail(-1, "has "+strconv.Itoa(len(d.line))+" bytes, want "+strconv.Itoa(MaxLine)+" at most")
	}
	var seen [fLine]bool
	last := fLine
	more, ok := d.open('{', '}', "one JSON object")
	for more && ok {
		d.at = fLine
		d.next()
		start := d.i
		guess := &d.after[d.kind][last]
		f, ok := d.member(*guess)
		if !ok {
			return false
		}
		d.at, *guess, last = f, f, f
		if d.at == fLine {
			d.unknown++
			if !d.skip(0) {
				return false
			}
		} else {
			if seen[d.at] {
				return d.fail(start, "stands twice, want it once")
			}
			seen[d.at] = true
			if !d.value(ev) {
				return false
			}
		}
		d.at = fLine
		if more, ok = d.more('}'); !ok {
			return false
		}
	}
	return ok
}

// member reads the name of a member and the colon behind it, and returns which
// field it is; guess is the one that it probably is, because events of one kind
// have their fields in one order. That spares looking at the name twice.
func (d *Decoder) member(guess field) (field, bool) {
	if key := fieldKeys[guess]; guess != fLine && d.begins(key) {
		d.i += len(key)
		return guess, true
	}
	mark := len(d.scratch)
	key, ok := d.key(true)
	f := fieldOf(key)
	d.scratch = d.scratch[:mark]
	return f, ok
}

func (d *Decoder) end() bool {
	if d.next(); d.i < len(d.line) {
		return d.fail(d.i, "goes on behind the object, want one object on a line")
	}
	return true
}

func (d *Decoder) complete(ev *Event) bool {
	switch {
	case ev.Time == 0:
		d.at = fTime
	case ev.Name == "":
		d.at = fName
	case ev.Agent == "":
		d.at = fAgent
	default:
		return true
	}
	return d.fail(-1, "is missing, want it in every event")
}

// value reads the value of the field d.at.
func (d *Decoder) value(ev *Event) (ok bool) {
	c := d.next()
	if c == 'n' {
		return d.word("null")
	}
	switch d.at {
	case fTime:
		ev.Time, ok = d.time(c)
	case fName:
		ev.Name, ok = d.name()
	case fAgent:
		at := d.i
		if ev.Agent, ok = d.string(); ok && ev.Agent == "" {
			return d.fail(at, "is empty, want the id of the acting agent")
		}
	case fID:
		ev.ID, ok = d.string()
	case fSession:
		ev.Session, ok = d.string()
	case fSeq:
		ev.Seq, ok = d.integer()
	case fTraceID:
		ev.TraceID, ok = d.string()
	case fSpanID:
		ev.SpanID, ok = d.string()
	case fTenant:
		ev.Tenant, ok = d.string()
	case fRole:
		ev.Role, ok = d.string()
	case fVersion:
		ev.Version, ok = d.string()
	case fModel:
		ev.Model, ok = d.string()
	case fParent:
		ev.Parent, ok = d.string()
	case fUser:
		ev.User, ok = d.string()
	case fChain:
		ev.Chain, ok = d.list()
	case fPrincipalScopes:
		ev.PrincipalScopes, ok = d.list()
	case fCredentialID:
		ev.CredentialID, ok = d.string()
	case fCredentialIssuer:
		ev.CredentialIssuer, ok = d.string()
	case fCredentialSubject:
		ev.CredentialSubject, ok = d.string()
	case fCredentialScopes:
		ev.CredentialScopes, ok = d.list()
	case fCredentialExpires:
		ev.CredentialExpires, ok = d.time(c)
	case fTool:
		ev.Tool, ok = d.string()
	case fCallID:
		ev.CallID, ok = d.string()
	case fToolHash:
		ev.ToolHash, ok = d.string()
	case fServer:
		ev.Server, ok = d.string()
	case fMethod:
		ev.Method, ok = d.string()
	case fEffect:
		ev.Effect, ok = enum(d, effectOf)
	case fPrivilege:
		ev.Privilege, ok = d.string()
	case fResource:
		ev.Resource, ok = d.string()
	case fSensitivity:
		ev.Sensitivity, ok = enum(d, sensitivityOf)
	case fDestination:
		ev.Destination, ok = d.string()
	case fArgKeys:
		ev.ArgKeys, ok = d.list()
	case fArgOrigins:
		ok = d.members((*Decoder).argOrigin)
		ev.ArgOrigins = clip(d.origins)
	case fArgSources:
		ok = d.members((*Decoder).argSource)
		ev.ArgSources = clip(d.sources)
	case fArgHashes:
		ok = d.members((*Decoder).argHashes)
		ev.ArgHashes = clip(d.hashes)
	case fTrust:
		ev.Trust, ok = enum(d, trustOf)
	case fIntents:
		ok = d.items((*Decoder).intent)
		ev.Intents = clip(d.intents)
	case fOrigin:
		ev.Origin, ok = enum(d, originOf)
	case fHash:
		ev.Hash, ok = d.string()
	case fSimhash:
		ev.Simhash, ok = d.string()
	case fStore:
		ev.Store, ok = d.string()
	case fRecord:
		ev.Record, ok = d.string()
	case fInputTokens:
		ev.InputTokens, ok = d.integer()
	case fOutputTokens:
		ev.OutputTokens, ok = d.integer()
	case fCost:
		ev.Cost, ok = d.float()
	case fBytes:
		ev.Bytes, ok = d.integer()
	case fDuration:
		ev.Duration, ok = d.float()
	case fErrorType:
		ev.ErrorType, ok = d.string()
	case fDelegate:
		ev.Delegate, ok = d.string()
	case fDelegateScopes:
		ev.DelegateScopes, ok = d.list()
	}
	return ok
}

// string reads a string of ours, which is not longer than MaxString.
func (d *Decoder) string() (string, bool) {
	if d.next() != '"' {
		return "", d.wrong("a string")
	}
	at := d.i
	s, ok := d.text(true)
	if ok && len(s) > MaxString {
		return "", d.fail(at, "is a string of "+strconv.Itoa(len(s))+" bytes, want "+strconv.Itoa(MaxString)+" at most")
	}
	return s, ok
}

func (d *Decoder) name() (Name, bool) {
	at := d.i
	s, ok := d.string()
	if !ok {
		return "", false
	}
	n := nameOf(s)
	if n == "" {
		return "", d.fail(at, "is no event name, want one of "+join(Names()))
	}
	d.kind = kindOf(n)
	return n, true
}

// enum reads a string and what it stands for; what it does not know it leaves out and counts.
func enum[T ~string](d *Decoder, of func(string) T) (v T, ok bool) {
	s, ok := d.string()
	if !ok {
		return "", false
	}
	if v = of(s); v == "" && s != "" {
		d.unknown++
	}
	return v, true
}
