package detect

import (
	"errors"
	"fmt"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Fact is what one agent's log says of something that other agents meet, too:
// that it met it for the first time, or in another form than before.
//
// Facts of one agent come in the order of its events. Those of several agents come in
// any order, and each may come again: who judges facts puts them in order first.
type Fact struct {
	Kind   FactKind        `json:"kind"`
	Entity string          `json:"entity"` // its name among those of its kind and tenant
	Tenant string          `json:"tenant,omitempty"`
	Time   event.Timestamp `json:"time"`
	Latest event.Timestamp `json:"latest,omitzero"` // time of the agent's events so far, to the second; it never goes back
	Event  string          `json:"event"`           // id of the event that says so
	Agent  string          `json:"agent"`
	Source string          `json:"source,omitempty"` // raw topic that the event came by, where it is known

	Role       string     `json:"role,omitempty"`
	Session    string     `json:"session,omitempty"`
	User       string     `json:"user,omitempty"`
	Parent     string     `json:"parent,omitempty"`
	Chain      []string   `json:"chain,omitempty"`
	Credential Credential `json:"credential,omitzero"` // that the session acts with
	Known      bool       `json:"known,omitempty"`     // the agent is no longer learning
	Deployed   bool       `json:"deployed,omitempty"`  // the agent's configuration has just changed

	Runs      string       `json:"runs,omitempty"`      // of a deployment: the build and the model at work
	Delegate  string       `json:"delegate,omitempty"`  // of a credential: to whom the agent hands it on
	Server    string       `json:"server,omitempty"`    // of a tool
	Tool      string       `json:"tool,omitempty"`      // of a server; of a record, that acted on it
	Hash      string       `json:"hash,omitempty"`      // of the tool's definition
	Effect    event.Effect `json:"effect,omitempty"`    // of the call
	Deed      Deed         `json:"deed,omitempty"`      // to a record
	Store     string       `json:"store,omitempty"`     // of a record, where the event names it
	Record    string       `json:"record,omitempty"`    // likewise
	Untrusted bool         `json:"untrusted,omitempty"` // of a record that was written: its content came from outside
	Tainted   bool         `json:"tainted,omitempty"`   // likewise: content from outside had come into the session, whatever the record's origin is told to be
	Lineage   []string     `json:"lineage,omitempty"`   // likewise: the entities of the records that the session read last
	Astray    bool         `json:"astray,omitempty"`    // of an act on a record: the user did not ask for its effect, and its destination was new to an agent that seldom does both
}

// FactKind says what a fact is about.
type FactKind string

// The kinds of fact.
const (
	CredentialFact  FactKind = "credential"
	ToolFact        FactKind = "tool"   // which servers offer a tool
	ServerFact      FactKind = "server" // how a server defines its tools
	RecordFact      FactKind = "record" // of memory; the entity is a fingerprint of store and record
	DestinationFact FactKind = "destination"
	PrincipalFact   FactKind = "principal"
	DeploymentFact  FactKind = "deployment" // what the agents of a role run; the entity is the role
)

// FactKinds lists them.
func FactKinds() []FactKind {
	return []FactKind{CredentialFact, ToolFact, ServerFact, RecordFact, DestinationFact, PrincipalFact, DeploymentFact}
}

// A Deed is what was done with a memory record.
type Deed string

// The deeds.
const (
	Wrote Deed = "wrote"
	Read  Deed = "read"
	Acted Deed = "acted" // an effectful call in a session that had read it, with an argument from memory
)

// Judged is the deed of a fact that is a person's verdict on findings about what several
// agents share: the entity is the [Unit] whose habits they were held against, the tool
// names the detector and the hash says what the verdict is.
const Judged Deed = "judged"

// Key is what facts about the same entity have in common, and no others.
func (f *Fact) Key() string { return string(f.AppendKey(nil)) }

// AppendKey appends what Key returns.
func (f *Fact) AppendKey(dst []byte) []byte {
	return append(append(f.AppendGroup(dst), 0), f.Entity...)
}

// Group is what facts have in common whose habits are looked at together: those of
// one kind in one tenant. They go to one partition.
func (f *Fact) Group() string { return string(f.AppendGroup(nil)) }

// AppendGroup appends what Group returns.
func (f *Fact) AppendGroup(dst []byte) []byte {
	return append(append(append(dst, f.Kind...), 0), f.Tenant...)
}

// Place is where f stands among the facts of all agents: at the time of its event,
// but not before what its agent told earlier.
func (f *Fact) Place() event.Timestamp { return max(f.Time, f.Latest) }

func (f *Fact) validate() error {
	known := false
	for _, k := range FactKinds() {
		known = known || k == f.Kind
	}
	switch {
	case !known:
		return fmt.Errorf("kind: is %.20q, want one of %v", f.Kind, FactKinds())
	case f.Entity == "" || len(f.Entity) > entityCap:
		return fmt.Errorf("entity: has %d bytes, want 1 to %d", len(f.Entity), entityCap)
	case f.Agent == "":
		return errors.New("agent: is missing")
	case f.Event == "":
		return errors.New("event: is missing")
	case f.Time < year2000:
		return errors.New("time: is missing or before the year 2000")
	case f.Kind == RecordFact && f.Deed != Wrote && f.Deed != Read && f.Deed != Acted && f.Deed != Judged:
		return fmt.Errorf("deed: is %.20q, want %s, %s or %s", f.Deed, Wrote, Read, Acted)
	}
	return nil
}

// year2000 is the earliest time of an event.
const year2000 event.Timestamp = 946684800e9

// entityCap is how long the name of an entity may be in a fact.
const entityCap = 128

// entityName is a name as a fact has it: a long one keeps its beginning and, after a
// tilde, a hash of the whole.
func entityName(s string) string {
	if len(s) <= entityCap {
		return s
	}
	return fmt.Sprintf("%s~%016x", s[:entityCap-17], hash(s))
}

// recordEntity names a record by its fingerprint, which is what a session remembers of it.
func recordEntity(fp uint32) string { return fmt.Sprintf("%08x", fp) }
