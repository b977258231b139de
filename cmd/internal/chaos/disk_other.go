//go:build !linux

package chaos

import (
	"errors"
	"fmt"
)

// A disk is a file system that one server has to itself. Only Linux gives one to
// an unprivileged user.
type disk struct{ path, dir string }

func newDisk(string) (*disk, error) {
	return nil, fmt.Errorf("mount a disk: %w", errors.ErrUnsupported)
}

func (*disk) on() []string { return nil }
func (*disk) fill() error  { return errors.ErrUnsupported }
func (*disk) room() error  { return errors.ErrUnsupported }
func (*disk) close() error { return nil }
