package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// ErrCannotWrite says that the embedded broker could not write to its disk, and
// stands still. What it acknowledged is on disk; it opens that again when it is
// started with room to write.
var ErrCannotWrite = errors.New("embedded kafka cannot write and has stopped; make room and start it again")

// A failure ends a broker at the first write that fails, as Apache Kafka ends
// when its log directory does. The broker would go on, and would acknowledge what
// it has not stored: it notes the sequence number of a batch before it writes it,
// so that the producer's next try looks like a repeat of one that succeeded.
type failure struct {
	told   chan error    // one error
	closed chan struct{} // the broker is given up

	mu      sync.Mutex
	failed  bool
	closing bool
}

func newFailure() *failure { return &failure{told: make(chan error, 1), closed: make(chan struct{})} }

// failedWrites begin what the broker logs of a write that failed.
var failedWrites = [...]string{"persist ", "rebuildSegments "}

// hear is called with what the broker logs, by the goroutine that handles its
// requests. After a failed write it never returns, so nothing is answered any more.
func (f *failure) hear(msg string, args []any) {
	for _, begin := range failedWrites {
		if strings.HasPrefix(msg, begin) && f.fail(fmt.Errorf("%w: %s", ErrCannotWrite, fmt.Sprintf(msg, args...))) {
			<-f.closed
			runtime.Goexit()
		}
	}
}

// fail returns false for a broker that is closing, which ends anyway.
func (f *failure) fail(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return false
	}
	if !f.failed {
		f.failed = true
		f.told <- err
	}
	return true
}

// close reports whether the broker failed before it was to be closed.
func (f *failure) close() (failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closing = true
	return f.failed
}

// indexEntry is the size of what the broker notes of a batch in the index beside
// a log. All that it keeps there matters to transactions alone.
const indexEntry = 15

// repairIndexes cuts off what a full disk left of an entry: what is added behind
// it would be read askew.
func repairIndexes(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "partitions", "*", "*.idx"))
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return err
		}
		if over := info.Size() % indexEntry; over != 0 {
			if err := os.Truncate(f, info.Size()-over); err != nil {
				return err
			}
		}
	}
	return nil
}
