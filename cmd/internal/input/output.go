package input

import (
	"fmt"
	"os"
	"path/filepath"
)

// Apart refuses to write to a file that is read, or written with something else:
// by whatever name it goes, and before anything of it is lost. An empty name is
// no file. A device or a pipe loses nothing, and may be named twice.
func Apart(out string, others ...string) error {
	for _, other := range others {
		same, err := sameFile(out, other)
		if err != nil {
			return err
		}
		if same {
			return fmt.Errorf("is %s, which is used already and would be written over, want another file", out)
		}
	}
	return nil
}

// sameFile reports whether two names are of one regular file, or would be of one when it is made.
func sameFile(a, b string) (bool, error) {
	if a == "" || b == "" {
		return false, nil
	}
	there, err := os.Stat(a)
	if err == nil && !there.Mode().IsRegular() {
		return false, nil
	}
	if other, otherErr := os.Stat(b); err == nil && otherErr == nil {
		return os.SameFile(there, other), nil
	}
	absA, err := filepath.Abs(a)
	if err != nil {
		return false, err
	}
	absB, err := filepath.Abs(b)
	return absA == absB, err
}
