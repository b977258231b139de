package detect

import (
	"encoding/binary"
	"slices"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A PackedFact is a fact in one piece of memory, of which it takes about a fifth: for
// those who hold many. The zero value is no fact.
//
// It begins with what facts are put in order by. A text that stands in it already, such
// as that of a credential which the fact is about, is told by where.
type PackedFact string

// The flags of a packed fact.
const (
	packedKnown = 1 << iota
	packedDeployed
	packedUntrusted
	packedTainted
	packedAstray
)

// texts are the strings of a fact that stand by themselves, the agent and the event first.
func (f *Fact) texts() [22]*string {
	return [...]*string{&f.Agent, &f.Event, (*string)(&f.Kind), &f.Entity, &f.Tenant, &f.Source, &f.Role, &f.Session, &f.User, &f.Parent,
		&f.Credential.ID, &f.Credential.Issuer, &f.Credential.Subject, &f.Delegate, &f.Server, &f.Tool, &f.Hash, (*string)(&f.Effect),
		(*string)(&f.Deed), &f.Store, &f.Record, &f.Runs}
}

// AppendPacked appends f as a [PackedFact].
func (f *Fact) AppendPacked(dst []byte) []byte {
	dst = append(dst, byte(bit(f.Known)*packedKnown|bit(f.Deployed)*packedDeployed|bit(f.Untrusted)*packedUntrusted|
		bit(f.Tainted)*packedTainted|bit(f.Astray)*packedAstray))
	dst = binary.AppendVarint(binary.AppendVarint(dst, int64(f.Time)), int64(f.Latest-f.Time))
	texts := f.texts()
	for i, s := range texts {
		dst = appendText(dst, *s, texts[:i])
	}
	for _, list := range [][]string{f.Chain, f.Lineage} {
		dst = binary.AppendUvarint(dst, uint64(len(list)))
		for _, s := range list {
			dst = appendText(dst, s, texts[:])
		}
	}
	return dst
}

// appendText appends a text: twice its length, and itself, or twice the number of the one before
// it that is the same, and one.
func appendText(dst []byte, s string, before []*string) []byte {
	if len(s) > 1 {
		if i := slices.IndexFunc(before, func(b *string) bool { return *b == s }); i >= 0 {
			return binary.AppendUvarint(dst, uint64(i)<<1|1)
		}
	}
	return append(binary.AppendUvarint(dst, uint64(len(s))<<1), s...)
}

// Unpack returns the fact. Its strings are those of p.
func (p PackedFact) Unpack() (f Fact) {
	u := unpacker{p}
	flags := u.byte()
	f.Known, f.Deployed, f.Untrusted = flags&packedKnown != 0, flags&packedDeployed != 0, flags&packedUntrusted != 0
	f.Tainted, f.Astray = flags&packedTainted != 0, flags&packedAstray != 0
	f.Time = u.time()
	f.Latest = f.Time + u.time()
	texts := f.texts()
	for _, s := range texts {
		*s = u.text(texts[:])
	}
	f.Chain, f.Lineage = u.list(texts[:]), u.list(texts[:])
	return f
}

// Agent is whose fact it is.
func (p PackedFact) Agent() string {
	agent, _, _ := p.Told()
	return agent
}

// Told is which agent's event says so, and when it was.
func (p PackedFact) Told() (agent, event string, at event.Timestamp) {
	u := unpacker{p}
	u.byte()
	at = u.time()
	u.time()
	agent = u.text(nil)
	return agent, u.text([]*string{&agent}), at
}

// An unpacker takes a packed fact apart. The texts it returns are in the memory of the fact.
type unpacker struct{ rest PackedFact }

func (u *unpacker) byte() byte {
	b := u.rest[0]
	u.rest = u.rest[1:]
	return b
}

// number takes an unsigned number off.
func (u *unpacker) number() (v uint64) {
	for shift := 0; ; shift += 7 {
		b := u.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

func (u *unpacker) time() event.Timestamp {
	v := u.number()
	return event.Timestamp(v>>1) ^ -event.Timestamp(v&1)
}

// text takes a text off, or finds it among those before it.
func (u *unpacker) text(before []*string) string {
	v := u.number()
	if v&1 != 0 {
		return *before[v>>1]
	}
	s := u.rest[:v>>1]
	u.rest = u.rest[v>>1:]
	return string(s)
}

func (u *unpacker) list(before []*string) []string {
	n := u.number()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = u.text(before)
	}
	return list
}
