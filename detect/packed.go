package detect

import (
	"encoding/hex"
	"strings"
)

// A Reference is the id of an event in 19 bytes: any of up to 18 bytes, hexadecimal
// ones of up to 36 digits, a UUID, a ULID, or up to 27 characters of one case. A
// longer one keeps its beginning and, after a tilde, a hash of the whole.
type Reference struct {
	form packing
	b    [18]byte
}

// A label is the name of a privilege: up to 18 characters of lower case, or up to 12
// others. A longer one is cut off.
type label struct {
	form packing
	b    [12]byte
}

// The four characters that may stand between letters and digits of one case.
const (
	inReferences = "-_./"
	inLabels     = ":_-."
)

func (r *Reference) set(s string) {
	*r = Reference{}
	if r.form = pack(r.b[:], s, inReferences); r.form != 0 || s == "" {
		return
	}
	r.form = asIs | packing(shorten(r.b[:], s))
}

func reference(s string) Reference {
	var r Reference
	r.set(s)
	return r
}

func (r *Reference) empty() bool { return r.form == 0 }

// String returns the id; the zero Reference is the empty string.
func (r Reference) String() string { return r.form.unpack(r.b[:], inReferences) }

func (l *label) set(s string) {
	*l = label{}
	if l.form = pack(l.b[:], s[:min(len(s), labelCap)], inLabels); l.form == 0 {
		l.form = asIs | packing(copy(l.b[:], s))
	}
}

// labelCap is how many characters of a privilege's name are kept at most.
const labelCap = 18

func (l label) String() string { return l.form.unpack(l.b[:], inLabels) }

// A packing says how a text stands in its bytes: in its three highest bits which
// characters it has, in the others how many; of digits, how many bytes.
type packing uint8

const (
	asIs    packing = iota << 5 // a byte each
	digits                      // two hexadecimal digits a byte
	hyphens                     // of a UUID: the same with the hyphens of RFC 9562
	lower                       // three in two bytes: lower case, digits and four others
	upper                       // likewise, of upper case
	mixed                       // four in three bytes: the alphabet of base64url (RFC 4648)
	kindOf  packing = 7 << 5
)

const (
	alphabet = 40 // characters of one case, digits and four others; its cube is less than 1<<16
	base64   = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// size is how many bytes a text of that packing takes.
func (k packing) size() int {
	n := int(k &^ kindOf)
	switch k & kindOf {
	case lower, upper:
		return 2 * ((n + 2) / 3)
	case mixed:
		return (6*n + 7) / 8
	}
	return n
}

// fits reports whether k can be the packing of a text of so many bytes.
func (k packing) fits(size int) bool {
	return k <= mixed|31 && k.size() <= size && (k < digits || k&^kindOf > 0) && (k&kindOf != hyphens || k == hyphens|16)
}

// pack puts s into b so that all of it comes back; 0 if it cannot, or s is empty.
func pack(b []byte, s, others string) packing {
	if k := packDigits(b, s); k != 0 {
		return k
	}
	if len(s) <= len(b) {
		return asIs | packing(copy(b, s))
	}
	for _, kind := range [...]packing{lower, upper, mixed} {
		k := kind | packing(len(s))
		if len(s) <= 31 && k.size() <= len(b) {
			clear(b)
			if kind == mixed && pack64(b, s) || kind != mixed && pack40(b, s, kind == upper, others) {
				return k
			}
		}
	}
	clear(b)
	return 0
}

// packDigits puts a UUID, or digits too many to stand as they are, into b.
func packDigits(b []byte, s string) packing {
	if len(s) == 36 && len(b) >= 16 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		if unhex(b, s[:8]) && unhex(b[4:], s[9:13]) && unhex(b[6:], s[14:18]) && unhex(b[8:], s[19:23]) && unhex(b[10:], s[24:]) {
			return hyphens | 16
		}
	}
	clear(b)
	if len(s) > len(b) && len(s)%2 == 0 && len(s) <= 2*len(b) && unhex(b, s) {
		return digits | packing(len(s)/2)
	}
	clear(b)
	return 0
}

// pack40 writes three characters of the alphabet in two bytes, as RADIX-50 does.
func pack40(b []byte, s string, upper bool, others string) bool {
	for i := range len(s) {
		c, v := s[i], 0
		switch at := strings.IndexByte(others, c); {
		case at >= 0:
			v = 36 + at
		case '0' <= c && c <= '9':
			v = 26 + int(c-'0')
		case upper && 'A' <= c && c <= 'Z':
			v = int(c - 'A')
		case !upper && 'a' <= c && c <= 'z':
			v = int(c - 'a')
		default:
			return false
		}
		word := b[i/3*2:]
		sum := (int(word[0])<<8|int(word[1]))*alphabet + v
		word[0], word[1] = byte(sum>>8), byte(sum)
	}
	return true
}

func pack64(b []byte, s string) bool {
	for i := range len(s) {
		v := strings.IndexByte(base64, s[i])
		if v < 0 {
			return false
		}
		for bit := range 6 {
			at := 6*i + bit
			b[at/8] |= byte(v>>(5-bit)&1) << (7 - at%8)
		}
	}
	return true
}

// unpack returns what was packed.
func (k packing) unpack(b []byte, others string) string {
	n := int(k &^ kindOf)
	switch k & kindOf {
	case digits:
		return hex.EncodeToString(b[:n])
	case hyphens:
		s := hex.EncodeToString(b[:n])
		return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
	case lower, upper:
		return unpack40(b, n, k&kindOf == upper, others)
	case mixed:
		s := make([]byte, n)
		for i := range s {
			v := 0
			for bit := range 6 {
				at := 6*i + bit
				v = v<<1 | int(b[at/8]>>(7-at%8)&1)
			}
			s[i] = base64[v]
		}
		return string(s)
	}
	return string(b[:n])
}

func unpack40(b []byte, n int, upper bool, others string) string {
	s := make([]byte, n)
	for i := range s {
		sum := int(b[i/3*2])<<8 | int(b[i/3*2+1])
		for range min(3, n-i/3*3) - 1 - i%3 {
			sum /= alphabet
		}
		switch v := sum % alphabet; {
		case v >= 36:
			s[i] = others[v-36]
		case v >= 26:
			s[i] = byte('0' + v - 26)
		case upper:
			s[i] = byte('A' + v)
		default:
			s[i] = byte('a' + v)
		}
	}
	return string(s)
}
