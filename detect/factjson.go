package detect

import "github.com/stakeout-project/stakeout/ingest/event"

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
	for i, s := range f.Chain {
		between := `,"chain":[`
		if i > 0 {
			between = ","
		}
		dst = event.AppendString(append(dst, between...), s)
	}
	if len(f.Chain) > 0 {
		dst = append(dst, ']')
	}
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

	dst = appendMember(dst, `,"delegate":`, f.Delegate)
	dst = appendMember(dst, `,"server":`, f.Server)
	dst = appendMember(dst, `,"tool":`, f.Tool)
	dst = appendMember(dst, `,"hash":`, f.Hash)
	dst = appendMember(dst, `,"effect":`, string(f.Effect))
	dst = appendMember(dst, `,"deed":`, string(f.Deed))
	dst = appendMember(dst, `,"store":`, f.Store)
	dst = appendMember(dst, `,"record":`, f.Record)
	dst = appendTrue(dst, `,"untrusted":true`, f.Untrusted)
	return append(dst, '}')
}

// appendMember appends a member that is left out where it is empty.
func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return event.AppendString(append(dst, name...), value)
}

func appendTrue(dst []byte, member string, is bool) []byte {
	if !is {
		return dst
	}
	return append(dst, member...)
}
