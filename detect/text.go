package detect

import (
	"encoding/hex"

	"github.com/cespare/xxhash/v2"
)

// textCap is the longest string a Text holds unshortened: room for a UUID.
const textCap = 37

// Text is a short string of fixed size, so that a profile has no pointers. A
// longer string keeps its beginning and, after a tilde, a hash of the whole.
type Text struct {
	n uint8
	b [textCap]byte
}

// text returns s as a Text.
func text(s string) Text {
	var t Text
	t.set(s)
	return t
}

func (t *Text) set(s string) {
	*t = Text{}
	if len(s) <= textCap {
		t.n = uint8(copy(t.b[:], s))
		return
	}
	var sum [8]byte
	const tail = 1 + 2*len(sum)
	h := xxhash.Sum64String(s)
	for i := range sum {
		sum[i] = byte(h >> (56 - 8*i))
	}
	t.n = textCap
	n := copy(t.b[:textCap-tail], s)
	t.b[n] = '~'
	hex.Encode(t.b[n+1:], sum[:])
}

func (t *Text) empty() bool { return t.n == 0 }

// String returns the text; the zero Text is the empty string.
func (t Text) String() string { return string(t.b[:t.n]) }

// hash is the identity of a name inside a profile. Zero means no name, so that
// the zero slot is an empty one.
func hash(parts ...string) uint64 {
	var d xxhash.Digest
	d.Reset()
	for _, p := range parts {
		_, _ = d.WriteString(p) // a Digest's writes cannot fail
		_, _ = d.WriteString("\x00")
	}
	if h := d.Sum64(); h != 0 {
		return h
	}
	return 1
}
