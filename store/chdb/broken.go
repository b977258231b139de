package chdb

import (
	"fmt"
	"strings"
	"time"
)

// healInterval is how long an engine must have run to be ended for an unreadable
// part when another one was ended before it: what a new start does not mend, more
// of them will not.
const healInterval = 10 * time.Minute

// corrupted begins the exception CORRUPTED_DATA, and inPart is in it when the data
// is that of a table.
const (
	corrupted = "Code: 246."
	inPart    = "(while reading from part "
)

// hear takes notice of an exception that tells of a part that cannot be read, which
// fails every query of the table for ever. When the engine starts it looks at all
// parts: it sets that one aside and takes those again that it was merged from,
// which are kept for eight minutes.
func (s *server) hear(err error) {
	if time.Since(s.began) < s.patience || !strings.HasPrefix(err.Error(), corrupted) || !strings.Contains(err.Error(), inPart) {
		return
	}
	s.end(fmt.Errorf("started again for a part that cannot be read: %w", err))
}
