package detect

import (
	"fmt"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// AppendJSON appends f as one JSON object, which [ParseFact] reads. It is written by hand
// because telling a fact would else cost more than judging its event.
func (f *Fact) AppendJSON(dst []byte) []byte {
	dst = event.AppendString(append(dst, `{"kind":`...), string(f.Kind))
	dst = event.AppendString(append(dst, `,"entity":`...), f.Entity)
	dst = appendMember(dst, `,"tenant":`, f.Tenant)
	dst = append(f.Time.Append(append(dst, `,"time":"`...)), '"')
	if f.Latest != 0 {
		dst = append(f.Latest.Append(append(dst, `,"latest":"`...)), '"')
	}
	dst = event.AppendString(append(dst, `,"event":`...), f.Event)
	dst = event.AppendString(append(dst, `,"agent":`...), f.Agent)
	dst = appendMember(dst, `,"source":`, f.Source)

	dst = appendMember(dst, `,"role":`, f.Role)
	dst = appendMember(dst, `,"session":`, f.Session)
	dst = appendMember(dst, `,"user":`, f.User)
	dst = appendMember(dst, `,"parent":`, f.Parent)
	dst = appendList(dst, `,"chain":[`, f.Chain)
	if c := &f.Credential; *c != (Credential{}) {
		dst = append(dst, `,"credential":`...)
		mark := len(dst)
		dst = appendMember(dst, `,"id":`, c.ID)
		dst = appendMember(dst, `,"issuer":`, c.Issuer)
		dst = appendMember(dst, `,"subject":`, c.Subject)
		dst[mark] = '{' // in the place of the comma
		dst = append(dst, '}')
	}
	dst = appendTrue(dst, `,"known":true`, f.Known)
	dst = appendTrue(dst, `,"deployed":true`, f.Deployed)

	dst = appendMember(dst, `,"runs":`, f.Runs)
	dst = appendMember(dst, `,"delegate":`, f.Delegate)
	dst = appendMember(dst, `,"server":`, f.Server)
	dst = appendMember(dst, `,"tool":`, f.Tool)
	dst = appendMember(dst, `,"hash":`, f.Hash)
	dst = appendMember(dst, `,"effect":`, string(f.Effect))
	dst = appendMember(dst, `,"deed":`, string(f.Deed))
	dst = appendMember(dst, `,"store":`, f.Store)
	dst = appendMember(dst, `,"record":`, f.Record)
	dst = appendTrue(dst, `,"untrusted":true`, f.Untrusted)
	dst = appendTrue(dst, `,"tainted":true`, f.Tainted)
	dst = appendList(dst, `,"lineage":[`, f.Lineage)
	dst = appendTrue(dst, `,"astray":true`, f.Astray)
	return append(dst, '}')
}

// appendMember appends a member that is left out where it is empty.
func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return event.AppendString(append(dst, name...), value)
}

// appendList appends a member whose value is a list, which is left out where it is empty.
func appendList(dst []byte, begin string, list []string) []byte {
	if len(list) == 0 {
		return dst
	}
	for i, s := range list {
		if i > 0 {
			begin = ","
		}
		dst = event.AppendString(append(dst, begin...), s)
	}
	return append(dst, ']')
}

func appendTrue(dst []byte, member string, is bool) []byte {
	if !is {
		return dst
	}
	return append(dst, member...)
}

// ParseFact reads what [Fact.AppendJSON] appended. The strings of the fact are those of b.
// What is no fact is refused; members that are not known are left out. It is written by
// hand because facts are read by the million when a partition of them is taken over.
func ParseFact(b []byte) (Fact, error) {
	m := event.MembersOf(b)
	var f Fact
	for m.Next() {
		f.member(&m)
	}
	if err := m.Err(); err != nil {
		return Fact{}, fmt.Errorf("fact: %w", err)
	}
	if err := f.validate(); err != nil {
		return Fact{}, fmt.Errorf("fact: %w", err)
	}
	return f, nil
}

// member reads the member that m is at.
func (f *Fact) member(m *event.Members) {
	switch m.Name() {
	case "kind":
		f.Kind = FactKind(m.Text())
	case "entity":
		f.Entity = m.Text()
	case "tenant":
		f.Tenant = m.Text()
	case "time":
		f.Time = m.Time()
	case "latest":
		f.Latest = m.Time()
	case "event":
		f.Event = m.Text()
	case "agent":
		f.Agent = m.Text()
	case "source":
		f.Source = m.Text()
	case "role":
		f.Role = m.Text()
	case "session":
		f.Session = m.Text()
	case "user":
		f.User = m.Text()
	case "parent":
		f.Parent = m.Text()
	case "chain":
		f.Chain = m.List()
	case "credential":
		f.Credential.read(m)
	case "known":
		f.Known = m.Flag()
	case "deployed":
		f.Deployed = m.Flag()
	case "runs":
		f.Runs = m.Text()
	case "delegate":
		f.Delegate = m.Text()
	case "server":
		f.Server = m.Text()
	case "tool":
		f.Tool = m.Text()
	case "hash":
		f.Hash = m.Text()
	case "effect":
		f.Effect = event.Effect(m.Text())
	case "deed":
		f.Deed = Deed(m.Text())
	case "store":
		f.Store = m.Text()
	case "record":
		f.Record = m.Text()
	case "untrusted":
		f.Untrusted = m.Flag()
	case "tainted":
		f.Tainted = m.Flag()
	case "lineage":
		f.Lineage = m.List()
	case "astray":
		f.Astray = m.Flag()
	default:
		m.Skip()
	}
}

// read reads a credential, the value that m is at.
func (c *Credential) read(m *event.Members) {
	*c = Credential{}
	if !m.Object() {
		return
	}
	for m.Next() {
		switch m.Name() {
		case "id":
			c.ID = m.Text()
		case "issuer":
			c.Issuer = m.Text()
		case "subject":
			c.Subject = m.Text()
		default:
			m.Skip()
		}
	}
}
