package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A disk is a file system that one server has to itself, and that can be full. It
// is a tmpfs in namespaces of its own, which takes no privilege; a process that
// does nothing else holds it, so it survives the server. Others reach it by way
// of that process.
type disk struct {
	path string // as seen from here
	dir  string // as seen by processes that are on it

	mu     sync.Mutex // one order at a time
	holder *exec.Cmd
	orders io.WriteCloser // a size in bytes, on a line
	done   *bufio.Reader  // what came of it, on a line
}

// diskSize is more than a run writes. What is not written takes no memory.
const diskSize = 4 << 30

// holding mounts the disk, resizes it when told to, and ends with whoever holds
// the other end of its input.
const holding = `mount -t tmpfs -o mode=700,size="$2" stakeout "$1" || exit 1
echo ok
while read -r size; do
	if mount -t tmpfs -o remount,size="$size" stakeout "$1"; then echo ok; else echo refused; fi
done`

// newDisk mounts a disk. The error is [errors.ErrUnsupported] where the machine
// gives an unprivileged user no namespaces.
func newDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d := &disk{dir: dir}
	var complaint strings.Builder
	d.holder = exec.Command("sh", "-c", holding, "disk", dir, fmt.Sprint(diskSize))
	d.holder.Stderr = &complaint
	d.holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	orders, err := d.holder.StdinPipe()
	if err != nil {
		return nil, err
	}
	done, err := d.holder.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.holder.Start(); err != nil {
		return nil, fmt.Errorf("mount a disk: %w: %w", errors.ErrUnsupported, err)
	}
	d.orders, d.done = orders, bufio.NewReader(done)
	if err := d.answer(); err != nil {
		return nil, fmt.Errorf("mount a disk: %w: %w: %s", errors.ErrUnsupported, errors.Join(err, orders.Close(), d.holder.Wait()), complaint.String())
	}
	d.path = filepath.Join(fmt.Sprintf("/proc/%d/root", d.holder.Process.Pid), dir)
	return d, nil
}

// on is the command that starts another where the disk is mounted. The process
// remains the same one.
func (d *disk) on() []string {
	return []string{"nsenter", "--user", "--mount", "--preserve-credentials", "--target", fmt.Sprint(d.holder.Process.Pid), "--"}
}

func (d *disk) answer() error {
	line, err := d.done.ReadString('\n')
	if err == nil && line != "ok\n" {
		err = errors.New(strings.TrimSpace(line))
	}
	return err
}

func (d *disk) resize(bytes int64) error {
	if _, err := fmt.Fprintln(d.orders, bytes); err != nil {
		return fmt.Errorf("resize a disk: %w", err)
	}
	return d.answer()
}

// fill makes the disk as small as what is on it.
func (d *disk) fill() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	for range 100 {
		var s syscall.Statfs_t
		if err := syscall.Statfs(d.path, &s); err != nil {
			return fmt.Errorf("fill a disk: %w", err)
		}
		// What was written since makes it refuse.
		if err = d.resize(int64(s.Blocks-s.Bfree) * s.Bsize); err == nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("fill a disk: %w", err)
}

// room makes the disk large again.
func (d *disk) room() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.resize(diskSize)
}

// close takes what is on the disk with it. It is for after the server's end.
func (d *disk) close() error {
	return errors.Join(d.orders.Close(), d.holder.Wait())
}
