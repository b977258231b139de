package event

import (
	"cmp"
	"fmt"
)

// Members reads one JSON object that is no event as a [Decoder] reads one: in one walk
// over the text, checked in full, and without allocating. After what Next finds, one of
// the methods that read a value comes, whatever the name:
//
//	for m.Next() {
//		switch m.Name() {
//		case "agent":
//			agent = m.Text()
//		default:
//			m.Skip()
//		}
//	}
//	return m.Err()
//
// A value that is null reads as if it were empty. The first error ends it all: then
// nothing is found any more, and values are empty.
type Members struct {
	scanner
	name   string
	first  bool // of an object that was just entered
	failed bool
}

// MembersOf begins to read line, which holds one object and nothing else but white
// space. Names and strings point into it.
func MembersOf(line []byte) Members {
	m := Members{scanner: scanner{line: line, at: fLine}}
	m.enter()
	return m
}

func (m *Members) enter() bool {
	if m.next() != '{' {
		m.failed = true
		return m.wrong("an object")
	}
	m.i++
	m.first = true
	return true
}

// Object enters the value, an object, whose members Next finds then until it ends; it
// reports whether there is one.
func (m *Members) Object() bool { return m.value() && m.enter() }

// Next goes to the next member of the object entered last, and reports whether there is one.
func (m *Members) Next() bool {
	if m.failed {
		return false
	}
	more, ok := true, true
	if m.first {
		m.first = false
		if more = m.next() != '}'; !more {
			m.i++
		}
	} else {
		more, ok = m.more('}')
	}
	if ok && more {
		m.name, ok = m.key(true)
	}
	m.failed = !ok
	return ok && more
}

// Name is that of the member found last.
func (m *Members) Name() string { return m.name }

// value goes to the value, and reports whether there is one that is not null.
func (m *Members) value() bool {
	if m.failed {
		return false
	}
	if m.next() == 'n' {
		m.failed = !m.word("null")
		return false
	}
	return true
}

// Text reads a string.
func (m *Members) Text() string {
	if !m.value() {
		return ""
	}
	return m.quoted()
}

func (m *Members) quoted() string {
	s, ok := "", false
	if m.next() == '"' {
		s, ok = m.text(true)
	} else {
		m.wrong("a string")
	}
	m.failed = !ok
	return s
}

// List reads a list of strings.
func (m *Members) List() (list []string) {
	if !m.value() {
		return nil
	}
	more, ok := m.open('[', ']', "a list")
	for more && ok {
		list = append(list, m.Text())
		if m.failed {
			return nil
		}
		more, ok = m.more(']')
	}
	m.failed = !ok
	return list
}

// Flag reads true or false.
func (m *Members) Flag() bool {
	switch {
	case !m.value():
	case m.begins("true"):
		m.i += len("true")
		return true
	case m.begins("false"):
		m.i += len("false")
	default:
		m.failed = true
		m.wrong("true or false")
	}
	return false
}

// Time reads a time as RFC 3339 has it; an empty string is none.
func (m *Members) Time() Timestamp {
	if !m.value() {
		return 0
	}
	at := m.i
	s := m.quoted()
	if s == "" {
		return 0
	}
	t, ok := parseTime(s)
	if !ok {
		m.failed = true
		m.fail(at, "is not a time from the years 1678 to 2262, want RFC 3339 such as 2006-01-02T15:04:05.999Z")
	}
	return t
}

// Skip leaves out a value of any kind.
func (m *Members) Skip() {
	if !m.failed {
		m.failed = !m.skip(0)
	}
}

// Err says what was wrong, or that something stands behind the object, once Next has
// found no more. It quotes nothing of the line but a member's name.
func (m *Members) Err() error {
	if m.next(); !m.failed && m.i < len(m.line) {
		m.failed, m.name = true, ""
		m.fail(m.i, "goes on behind the object, want one object")
	}
	if m.err == nil {
		return nil
	}
	return fmt.Errorf("%.64s: at byte %d: %s", cmp.Or(m.name, LineField), m.err.Offset, m.err.Reason)
}
