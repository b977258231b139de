//go:build !linux

package chdb

import "errors"

// confine reports that the system has nothing of the kind.
func confine(exe, library, dir string) error { return errors.ErrUnsupported }
