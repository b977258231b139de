package detect

import (
	"encoding/binary"
	"unsafe"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A PackedFact is a fact in one piece of memory, of which it takes about a third: for
// those who hold many. The zero value is no fact.
type PackedFact struct{ text string }

// The flags of a packed fact.
const (
	packedKnown = 1 << iota
	packedDeployed
	packedUntrusted
	packedTainted
	packedAstray
)

// texts are the strings of a fact that stand by themselves, the agent first.
func (f *Fact) texts() [22]*string {
	return [...]*string{&f.Agent, (*string)(&f.Kind), &f.Entity, &f.Tenant, &f.Event, &f.Source, &f.Role, &f.Session, &f.User, &f.Parent,
		&f.Credential.ID, &f.Credential.Issuer, &f.Credential.Subject, &f.Delegate, &f.Server, &f.Tool, &f.Hash, (*string)(&f.Effect),
		(*string)(&f.Deed), &f.Store, &f.Record, &f.Runs}
}

// Pack packs f, with the help of a buffer that it returns for the next one.
func (f *Fact) Pack(buf []byte) (PackedFact, []byte) {
	buf = buf[:0]
	for _, s := range f.texts() {
		buf = append(binary.AppendUvarint(buf, uint64(len(*s))), *s...)
	}
	buf = binary.AppendVarint(binary.AppendVarint(buf, int64(f.Time)), int64(f.Latest))
	buf = append(buf, byte(bit(f.Known)*packedKnown|bit(f.Deployed)*packedDeployed|bit(f.Untrusted)*packedUntrusted|
		bit(f.Tainted)*packedTainted|bit(f.Astray)*packedAstray))
	for _, list := range [][]string{f.Chain, f.Lineage} {
		buf = binary.AppendUvarint(buf, uint64(len(list)))
		for _, s := range list {
			buf = append(binary.AppendUvarint(buf, uint64(len(s))), s...)
		}
	}
	return PackedFact{string(buf)}, buf
}

// Unpack returns the fact. Its strings are those of p.
func (p PackedFact) Unpack() (f Fact) {
	b := unsafe.Slice(unsafe.StringData(p.text), len(p.text)) // read only
	for _, s := range f.texts() {
		*s, b = unpackText(b)
	}
	for _, t := range []*event.Timestamp{&f.Time, &f.Latest} {
		v, n := binary.Varint(b)
		*t, b = event.Timestamp(v), b[n:]
	}
	flags := b[0]
	f.Known, f.Deployed, f.Untrusted = flags&packedKnown != 0, flags&packedDeployed != 0, flags&packedUntrusted != 0
	f.Tainted, f.Astray = flags&packedTainted != 0, flags&packedAstray != 0
	f.Chain, b = unpackList(b[1:])
	f.Lineage, _ = unpackList(b)
	return f
}

// Agent is whose fact it is.
func (p PackedFact) Agent() string {
	s, _ := unpackText(unsafe.Slice(unsafe.StringData(p.text), len(p.text)))
	return s
}

// unpackText takes a string off b, in whose memory it stays.
func unpackText(b []byte) (s string, rest []byte) {
	n, m := binary.Uvarint(b)
	b = b[m:]
	return unsafe.String(unsafe.SliceData(b), n), b[n:]
}

func unpackList(b []byte) (list []string, rest []byte) {
	n, m := binary.Uvarint(b)
	b = b[m:]
	if n == 0 {
		return nil, b
	}
	list = make([]string, n)
	for i := range list {
		list[i], b = unpackText(b)
	}
	return list, b
}
