package detect

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/cespare/xxhash/v2"
)

// Text is a string of up to 32 bytes, or of up to 64 hexadecimal digits, of fixed
// size, so that a profile has no pointers. A longer string keeps its beginning
// and, after a tilde, a hash of the whole.
type Text struct {
	form form
	b    [32]byte
}

// Brief is a Text of up to 26 bytes, or of 52 digits.
type Brief struct {
	form form
	b    [26]byte
}

func (t *Text) set(s string)  { *t = Text{}; t.form = packText(t.b[:], s) }
func (t *Brief) set(s string) { *t = Brief{}; t.form = packText(t.b[:], s) }

// brief returns s as a Brief.
func brief(s string) Brief {
	var t Brief
	t.set(s)
	return t
}

// String returns the text; the zero Text is the empty string.
func (t Text) String() string { return t.form.unpack(t.b[:]) }

// String returns the text; the zero Brief is the empty string.
func (t Brief) String() string { return t.form.unpack(t.b[:]) }

// A form says how many bytes of a text are used, and how they are to be read.
type form uint8

const (
	used  form = 0x3f // bytes
	digit form = 0x40 // they are pairs of hexadecimal digits
	uuid  form = 0x80 // with the hyphens of RFC 9562 besides
)

// fits reports whether f can be the form of a text of so many bytes.
func (f form) fits(size int) bool {
	return int(f&used) <= size && (f < digit || f&used > 0) && (f < uuid || f == uuid|16)
}

const uuidLen = 36

// packText puts s into b in the shortest form that gives all of it back.
func packText(b []byte, s string) form {
	if len(s) == uuidLen && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		if unhex(b, s[:8]) && unhex(b[4:], s[9:13]) && unhex(b[6:], s[14:18]) && unhex(b[8:], s[19:23]) && unhex(b[10:], s[24:]) {
			return uuid | 16
		}
		clear(b)
	}
	if len(s) <= len(b) {
		return form(copy(b, s))
	}
	if len(s)%2 == 0 && len(s) <= 2*len(b) {
		if unhex(b, s) {
			return digit | form(len(s)/2)
		}
		clear(b)
	}
	return form(shorten(b, s))
}

// shorten fills b with the beginning of s and, after a tilde, a hash of the whole.
func shorten(b []byte, s string) int {
	const tail = 1 + 16
	n := copy(b[:len(b)-tail], s)
	b[n] = '~'
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], xxhash.Sum64String(s))
	hex.Encode(b[n+1:], sum[:])
	return len(b)
}

// unhex decodes lower-case hexadecimal digits, and reports whether s is made of them.
func unhex(dst []byte, s string) bool {
	for i := range len(s) {
		var v byte
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			v = c - '0'
		case 'a' <= c && c <= 'f':
			v = c - 'a' + 10
		default:
			return false
		}
		dst[i/2] = dst[i/2]<<4 | v
	}
	return true
}

// unpack returns what was packed.
func (f form) unpack(b []byte) string {
	b = b[:f&used]
	switch {
	case f >= uuid:
		s := hex.EncodeToString(b)
		return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
	case f >= digit:
		return hex.EncodeToString(b)
	}
	return string(b)
}

// hash is the identity of a name, or of a row of names, inside a profile. Zero
// means no name, so that the zero slot is an empty one.
func hash(parts ...string) uint64 {
	var h uint64
	for _, p := range parts {
		h = h*0x9e3779b97f4a7c15 ^ xxhash.Sum64String(p) // an odd factor, of the golden ratio: the order counts
	}
	if h == 0 {
		return 1
	}
	return h
}
