package chaos

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// newTestDisk mounts a disk. A machine that gives no namespaces has no such disk;
// on CI it has to.
func newTestDisk(t *testing.T) *disk {
	t.Helper()
	d, err := newDisk(filepath.Join(t.TempDir(), "disk"))
	if errors.Is(err, errors.ErrUnsupported) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestDisk(t *testing.T) {
	d := newTestDisk(t)
	file := filepath.Join(d.path, "file")
	chunk := bytes.Repeat([]byte("x"), 100<<10)
	if err := os.WriteFile(file, chunk, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.fill(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+"2", chunk, 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing to a full disk gives %v, want %v", err, syscall.ENOSPC)
	}
	if err := d.room(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+"2", chunk, 0o600); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, chunk) {
		t.Errorf("what was there before has changed: %d bytes, %v", len(got), err)
	}
}
