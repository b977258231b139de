package event

import (
	"strconv"
	"strings"
)

// LineField stands in for a field's name where an error concerns the line as a
// whole, or a field that is not ours.
const LineField = "line"

// An Error says why a line is not an event. It quotes nothing of the line, so
// that it may be logged and kept where the line itself may not.
type Error struct {
	Field  string // the name of one of our fields, or LineField
	Offset int    // byte of the line, from 0; -1 where no one byte is at fault
	Reason string // continues the field's name: "is a number, want a string"
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("event: ")
	b.WriteString(e.Field)
	b.WriteString(": ")
	if e.Offset >= 0 {
		b.WriteString("at byte ")
		b.WriteString(strconv.Itoa(e.Offset))
		b.WriteString(": ")
	}
	b.WriteString(e.Reason)
	return b.String()
}
