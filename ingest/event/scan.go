package event

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// maxDepth is how deep a value may be nested that is not ours and is skipped.
const maxDepth = 32

// A scanner walks over the JSON text of one line, once. Its methods leave i
// behind what they read; where one returns false, err says why.
type scanner struct {
	line    []byte
	i       int
	at      field // what is being read, for the error
	scratch []byte
	err     *Error
}

// fail notes the error at byte i and returns false.
func (s *scanner) fail(i int, reason string) bool {
	s.err = &Error{Field: s.at.String(), Offset: i, Reason: reason}
	return false
}

// short fails because the line ends where more is due.
func (s *scanner) short(want string) bool {
	return s.fail(len(s.line), "the line ends too soon, want "+want)
}

// next skips white space and returns the byte behind it, or 0 at the end; a NUL is nowhere valid.
func (s *scanner) next() byte {
	if s.i < len(s.line) && s.line[s.i] > ' ' {
		return s.line[s.i] // nearly always: whoever writes logs leaves white space out
	}
	return s.space()
}

// space is next where there may be white space.
func (s *scanner) space() byte {
	for ; s.i < len(s.line); s.i++ {
		switch c := s.line[s.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// begins reports whether text stands at i.
func (s *scanner) begins(text string) bool {
	return len(s.line)-s.i >= len(text) && string(s.line[s.i:s.i+len(text)]) == text
}

// wrong fails because the value at i is not what is wanted.
func (s *scanner) wrong(want string) bool {
	c := s.next()
	if s.i == len(s.line) {
		return s.short(want)
	}
	is := "is not JSON"
	switch {
	case c == '"':
		is = "is a string"
	case c == '{':
		is = "is an object"
	case c == '[':
		is = "is a list"
	case s.begins("true"), s.begins("false"):
		is = "is a boolean"
	case s.begins("null"):
		is = "is null"
	case c == '-' || isDigit(c):
		is = "is a number"
	}
	return s.fail(s.i, is+", want "+want)
}

// open enters the object or list that begins with c, and reports in more whether it has members.
func (s *scanner) open(c, end byte, want string) (more, ok bool) {
	if s.next() != c {
		return false, s.wrong(want)
	}
	s.i++
	if s.next() == end {
		s.i++
		return false, true
	}
	return true, true
}

// more steps over the comma to the next member, or over the end.
func (s *scanner) more(end byte) (more, ok bool) {
	switch c := s.next(); {
	case c == ',':
		s.i++
		return true, true
	case c == end:
		s.i++
		return false, true
	case s.i == len(s.line):
		return false, s.short("a comma or " + string(end))
	default:
		return false, s.fail(s.i, "the JSON is broken here, want a comma or "+string(end))
	}
}

// key reads the name of a member and the colon behind it, and with keep returns the name.
func (s *scanner) key(keep bool) (string, bool) {
	if s.next() != '"' {
		return "", s.wrong("a member's name in quotes")
	}
	k, ok := s.text(keep)
	return k, ok && s.colon()
}

// colon reads the colon behind a member's name.
func (s *scanner) colon() bool {
	switch {
	case s.next() == ':':
		s.i++
		return true
	case s.i == len(s.line):
		return s.short("a colon")
	}
	return s.fail(s.i, "the JSON is broken here, want a colon")
}

// word reads one of the literals true, false and null.
func (s *scanner) word(w string) bool {
	if len(s.line)-s.i < len(w) || string(s.line[s.i:s.i+len(w)]) != w {
		return s.fail(s.i, "is not JSON, want "+w)
	}
	s.i += len(w)
	return true
}

// text reads the string at i. With keep it returns it: a view of the line, or
// of the scratch where the string has escapes.
func (s *scanner) text(keep bool) (string, bool) {
	b, i := s.line, s.i+1
	start := i
	for ; i+8 <= len(b); i += 8 {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			if i += bits.TrailingZeros64(m) / 8; b[i] == '"' {
				s.i = i + 1
				return view(b[start:i]), true
			}
			break
		}
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i]-' ' < utf8.RuneSelf-' ' {
		i++
	}
	if i < len(b) && b[i] == '"' {
		s.i = i + 1
		return view(b[start:i]), true
	}
	return s.longText(start, i, keep)
}

// longText goes on with the string that begins at start from i, where the first
// byte stands that needs a closer look.
func (s *scanner) longText(start, i int, keep bool) (string, bool) {
	b, mark, from := s.line, len(s.scratch), start
	for i < len(b) {
		switch c := b[i]; {
		case c == '"':
			s.i = i + 1
			if from == start || !keep {
				return view(b[start:i]), true
			}
			s.scratch = append(s.scratch, b[from:i]...)
			return view(s.scratch[mark:]), true
		case c == '\\':
			r, n := s.escape(i)
			if n == 0 {
				return "", false
			}
			if keep {
				s.scratch = utf8.AppendRune(append(s.scratch, b[from:i]...), r)
			}
			i += n
			from = i
		case c < ' ':
			return "", s.fail(i, "has a bare control character in a string, want it escaped")
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return "", s.fail(i, "is not valid UTF-8 here, want UTF-8")
			}
			i += n
		}
	}
	return "", s.short("the closing quote of a string")
}

// escape reads the escape sequence at i and returns what it stands for and its
// length, which is 0 where it is wrong.
func (s *scanner) escape(i int) (rune, int) {
	if i+1 >= len(s.line) {
		s.short("the rest of an escape sequence")
		return 0, 0
	}
	switch c := s.line[i+1]; c {
	case '"', '\\', '/':
		return rune(c), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
	default:
		s.fail(i, `has an unknown escape sequence, want one of \" \\ \/ \b \f \n \r \t \u`)
		return 0, 0
	}
	hi, ok := s.hex4(i)
	switch {
	case !ok:
		s.fail(i, `has a broken escape sequence, want \u and four hexadecimal digits`)
		return 0, 0
	case hi < 0xd800 || hi > 0xdfff:
		return hi, 6
	}
	if lo, ok := s.hex4(i + 6); ok && hi < 0xdc00 && lo >= 0xdc00 && lo <= 0xdfff {
		return (hi-0xd800)<<10 + (lo - 0xdc00) + 0x10000, 12
	}
	s.fail(i, "has half a surrogate pair, want both halves")
	return 0, 0
}

// hex4 reads the \uXXXX at i.
func (s *scanner) hex4(i int) (r rune, ok bool) {
	if i+6 > len(s.line) || s.line[i] != '\\' || s.line[i+1] != 'u' {
		return 0, false
	}
	for _, c := range s.line[i+2 : i+6] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// skip reads a value of any kind and forgets it.
func (s *scanner) skip(depth int) bool {
	switch c := s.next(); {
	case c == '"':
		_, ok := s.text(false)
		return ok
	case c == '-' || isDigit(c):
		_, _, ok := s.number()
		return ok
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	case c != '{' && c != '[':
		return s.wrong("a value")
	case depth == maxDepth:
		return s.fail(s.i, "is nested too deep, want "+strconv.Itoa(maxDepth)+" levels at most")
	}
	end := s.line[s.i] + 2 // in ASCII, both closing brackets stand two behind the opening ones
	more, ok := s.open(s.line[s.i], end, "")
	for more && ok {
		if end == '}' {
			if _, ok := s.key(false); !ok {
				return false
			}
		}
		if !s.skip(depth + 1) {
			return false
		}
		more, ok = s.more(end)
	}
	return ok
}

// special marks the high bit of those of the eight bytes in w that end the
// fast path through a string: quote, backslash, control characters and
// whatever is not ASCII. The lowest mark is exact, those above it may not be.
func special(w uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	// Two swaps spaces for quotes: of ASCII, what is below 33 is then to be marked.
	quote, slash := w^ones*2, w^ones*'\\'
	return (w | (quote - ones*33) | (slash - ones)) & highs
}

// view returns b as a string that shares its memory.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
