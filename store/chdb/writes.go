package chdb

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The library drops the error of a write to a file that fails, on a full disk or
// a broken one, and goes on without the bytes: an insert succeeds, or a merge
// takes over, with files cut short. But it counts such writes. So nothing is
// acknowledged after one has failed, and the engine ends. The next one looks at
// all parts when it starts: it sets aside those whose files have not the size that
// they should have, and takes those again that they were merged from.

// failedWrites is how many writes have failed since the engine started; no row is none.
const failedWrites = "SELECT value FROM system.events WHERE event = 'WriteBufferFromFileDescriptorWriteFailed'"

// watchInterval is how long a merged part may be taken for whole that is not. It
// must be well below the time for which the parts it was merged from are kept.
const watchInterval = time.Second

// A witness asks the engine about itself. One goroutine at a time may hold its
// connection.
type witness struct {
	lib  *library
	args []string
	free chan *conn // holds the connection, or nil after an error
}

func newWitness(lib *library, args []string) *witness {
	w := &witness{lib: lib, args: args, free: make(chan *conn, 1)}
	w.free <- nil
	return w
}

// ask returns the only value of a query's only row, or 0 where there is none.
func (w *witness) ask(query string) (n uint64, err error) {
	c := <-w.free
	defer func() { w.free <- c }()
	if c == nil {
		if c, err = w.lib.connectTo(w.args...); err != nil {
			return 0, err
		}
	}
	out, _, err := c.query(query, "TSV", nil)
	if err != nil {
		c.close()
		c = nil
		return 0, err
	}
	value := strings.TrimSpace(string(out))
	if value == "" {
		return 0, nil
	}
	return strconv.ParseUint(value, 10, 64)
}

// wrote is nil while no write has failed. When one has, the engine is to end.
func (s *server) wrote() error {
	n, err := s.witness.ask(failedWrites)
	if err != nil {
		return fmt.Errorf("ask whether writes failed: %w", err)
	}
	if n == 0 {
		return nil
	}
	err = exception(243, "NOT_ENOUGH_SPACE", fmt.Sprintf("%d writes to files failed, as on a full disk: the engine starts again to find what is whole", n))
	s.end(err)
	return err
}

// watchWrites ends the engine when a write fails of which no statement hears,
// such as one of a merge.
func (s *server) watchWrites(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.wrote(); err != nil {
			s.log.Debug("writes watched", "err", err)
		}
	}
}

// end has the engine end, and start again.
func (s *server) end(err error) {
	select {
	case s.broken <- err:
	default: // it has been told already
	}
}

var (
	// defining is a statement that writes a definition over the one before. A half
	// one keeps its table from being opened.
	defining = regexp.MustCompile(`(?is)^\s*(CREATE|ALTER)\b`)
	// dropping is one that makes room.
	dropping = regexp.MustCompile(`(?is)^\s*ALTER\b.*\bDROP\s+(PARTITION|PART|DETACHED)\b`)
)

// definitionRoom is more than a definition takes, and than others write meanwhile.
const definitionRoom = 16 << 20

// refuseDefinition refuses a definition that there may be no room for.
func (s *server) refuseDefinition(sql string) error {
	if !defining.MatchString(sql) || dropping.MatchString(sql) {
		return nil
	}
	free, err := s.witness.ask("SELECT min(unreserved_space) FROM system.disks")
	if err != nil {
		return fmt.Errorf("ask for the room on the disk: %w", err)
	}
	if free < definitionRoom {
		return exception(243, "NOT_ENOUGH_SPACE", fmt.Sprintf("Cannot write a definition: %d bytes are free, want %d", free, definitionRoom))
	}
	return nil
}
