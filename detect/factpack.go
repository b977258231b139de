package detect

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// FactPages hold many facts in little memory, about a quarter of what they take as they are:
// those that come one after another have most of their texts in common, and in a page a text
// stands but once. A page goes as a whole, with the last fact in it: facts that come and go one
// by one would leave gaps between those that stay, which nothing else fits. A large fact
// has a page of its own, so that it does not end one that has room for many others.
// The zero value holds none. It is not for concurrent use.
type FactPages struct {
	last   *factPage
	stands [4096]uint32 // by its hash, where a text stands in the last page, and one more
	held   int          // bytes of the facts
	pinned int          // bytes of the last page, and of all that hold a fact
}

type factPage struct {
	text []byte // has all the room it will ever have: what points into it stays where it is
	held int    // facts
}

const (
	factPageSize = 64 << 10
	fewPinned    = 4 * factPageSize // that are not worth moving what is held
	largeFact    = factPageSize / 4
	leastText    = 3 // bytes; to say where a shorter text stands takes as much as itself
)

// A PackedFact is one that [FactPages] hold. The zero value is none.
type PackedFact struct {
	page     *factPage
	at, size uint32
}

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

// Clone returns a fact that shares no memory with f.
func (f *Fact) Clone() Fact {
	c := *f
	for _, s := range c.texts() {
		*s = strings.Clone(*s)
	}
	c.Chain, c.Lineage = cloneAll(f.Chain), cloneAll(f.Lineage)
	return c
}

func cloneAll(list []string) (all []string) {
	for _, s := range list {
		all = append(all, strings.Clone(s))
	}
	return all
}

// Keep holds f, and what goes with it, until it is dropped. Neither f nor its strings are kept.
func (p *FactPages) Keep(f *Fact, with []byte) PackedFact {
	n := f.packedSize(len(with))
	if n > largeFact {
		return p.keepAlone(f, with, n)
	}
	b := p.room(n)
	k := PackedFact{page: p.last, at: uint32(len(b))}
	p.last.text = p.pack(b, f, with)
	p.last.held++
	k.size = uint32(len(p.last.text)) - k.at
	p.held += int(k.size)
	return k
}

// keepAlone holds a fact, of so many bytes at most, in a page that has no room for another.
func (p *FactPages) keepAlone(f *Fact, with []byte, n int) PackedFact {
	var alone FactPages // knows what stands in that page
	page := &factPage{text: slices.Clip(bytes.Clone(alone.pack(make([]byte, 0, n), f, with))), held: 1}
	p.pinned, p.held = p.pinned+len(page.text), p.held+len(page.text)
	return PackedFact{page: page, size: uint32(len(page.text))}
}

// pack appends a fact, and what goes with it, to a page.
func (p *FactPages) pack(b []byte, f *Fact, with []byte) []byte {
	b = append(b, byte(bit(f.Known)*packedKnown|bit(f.Deployed)*packedDeployed|bit(f.Untrusted)*packedUntrusted|
		bit(f.Tainted)*packedTainted|bit(f.Astray)*packedAstray))
	b = binary.AppendVarint(binary.AppendVarint(b, int64(f.Time)), int64(f.Latest-f.Time))
	for _, s := range f.texts() {
		b = p.appendText(b, *s)
	}
	for _, list := range [...][]string{f.Chain, f.Lineage} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = p.appendText(b, s)
		}
	}
	return append(binary.AppendUvarint(b, uint64(len(with))), with...)
}

// packedSize is how much a fact takes at most.
func (f *Fact) packedSize(with int) int {
	n := 1 + (5+len(f.Chain)+len(f.Lineage))*binary.MaxVarintLen64 + with
	for _, s := range f.texts() {
		n += binary.MaxVarintLen64 + len(*s)
	}
	for _, list := range [...][]string{f.Chain, f.Lineage} {
		for _, s := range list {
			n += len(s)
		}
	}
	return n
}

// room returns the last page, or begins another where it has no room for so many bytes.
func (p *FactPages) room(n int) []byte {
	if p.last != nil && cap(p.last.text)-len(p.last.text) >= n {
		return p.last.text
	}
	if p.last != nil && p.last.held == 0 {
		p.pinned -= factPageSize
	}
	p.last = &factPage{text: make([]byte, 0, factPageSize)}
	p.pinned += factPageSize
	clear(p.stands[:])
	return p.last.text
}

// appendText appends twice the length of a text and itself, or twice the place in the page
// where it stands, and one.
func (p *FactPages) appendText(b []byte, s string) []byte {
	if len(s) >= leastText {
		stands := &p.stands[xxhash.Sum64String(s)%uint64(len(p.stands))]
		if at := *stands; at != 0 {
			if u := (unpacker{b, at - 1}); u.text() == s {
				return binary.AppendUvarint(b, uint64(at-1)<<1|1)
			}
		}
		*stands = uint32(len(b)) + 1
	}
	return append(binary.AppendUvarint(b, uint64(len(s))<<1), s...)
}

// Drop says that a fact is not held any more. What was unpacked from it stays valid.
func (p *FactPages) Drop(k PackedFact) {
	p.held -= int(k.size)
	if k.page.held--; k.page.held == 0 && k.page != p.last {
		p.pinned -= cap(k.page.text)
	}
}

// Sparse reports whether so little is held of what the pages take that it is worth while to
// hold it by other ones.
func (p *FactPages) Sparse() bool { return p.pinned > 2*p.held+fewPinned }

// Unpack returns the fact, and what goes with it. Their strings are in the memory of the page.
func (k PackedFact) Unpack() (f Fact, with string) {
	u := unpacker{k.page.text, k.at}
	flags := u.byte()
	f.Known, f.Deployed, f.Untrusted = flags&packedKnown != 0, flags&packedDeployed != 0, flags&packedUntrusted != 0
	f.Tainted, f.Astray = flags&packedTainted != 0, flags&packedAstray != 0
	f.Time = u.time()
	f.Latest = f.Time + u.time()
	for _, s := range f.texts() {
		*s = u.text()
	}
	f.Chain, f.Lineage = u.list(), u.list()
	return f, u.take(u.number())
}

// Told is which agent's event says so, and when it was.
func (k PackedFact) Told() (agent, event string, at event.Timestamp) {
	u := unpacker{k.page.text, k.at}
	u.byte()
	at = u.time()
	u.time()
	agent = u.text()
	return agent, u.text(), at
}

// An unpacker reads a page from a place on. The texts it returns are in the memory of the page.
type unpacker struct {
	page []byte
	at   uint32
}

func (u *unpacker) byte() byte {
	b := u.page[u.at]
	u.at++
	return b
}

func (u *unpacker) number() uint64 {
	v, n := binary.Uvarint(u.page[u.at:])
	u.at += uint32(n)
	return v
}

func (u *unpacker) time() event.Timestamp {
	v, n := binary.Varint(u.page[u.at:])
	u.at += uint32(n)
	return event.Timestamp(v)
}

func (u *unpacker) take(n uint64) string {
	s := unsafe.String(unsafe.SliceData(u.page[u.at:]), n) // nobody writes there again
	u.at += uint32(n)
	return s
}

func (u *unpacker) text() string {
	v := u.number()
	if v&1 != 0 {
		at := unpacker{u.page, uint32(v >> 1)}
		v = at.number()
		return at.take(v >> 1)
	}
	return u.take(v >> 1)
}

func (u *unpacker) list() []string {
	n := u.number()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = u.text()
	}
	return list
}
