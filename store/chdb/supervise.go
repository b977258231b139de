package chdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// supervise runs one child after the other until Close. The first one's early
// death is reported on died; from then on deaths are logged and counted.
func (e *Engine) supervise(died chan<- error) {
	defer close(e.stopped)
	// The kernel kills a child when the thread that started it ends, so this
	// goroutine keeps its thread; and it never gives it back, because the thread
	// is confined as its children shall be.
	runtime.LockOSThread()
	if err := confine(e.args[0], e.config.Library, e.config.Dir); err != nil {
		e.log.Warn("engine not confined: whoever may query it may have it read files that this user can read", "err", err)
	} else {
		e.confined.Store(true)
	}
	wait := firstRestartWait
	for {
		began := time.Now()
		err := e.runChild()
		select {
		case <-e.stop:
			if err != nil {
				e.log.Warn("engine did not end well", "err", err)
			}
			return
		default:
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		select {
		case died <- err: // Start, if it still waits, gives up on this
		default:
		}
		if time.Since(began) > healthyTime {
			wait = firstRestartWait
		}
		e.log.Error("engine died", "err", err, "restart_in", wait)
		select {
		case <-e.stop:
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRestartWait)
		e.config.Patience = healInterval
		e.restarts.Add(1)
	}
}

// runChild starts a child and waits for its end.
func (e *Engine) runChild() error {
	line, err := json.Marshal(e.config)
	if err != nil {
		return err
	}
	said := &lines{log: e.log}
	cmd := exec.Command(e.args[0], e.args[1:]...)
	// Of our own environment, which may hold secrets, the child gets nothing.
	cmd.Env = append([]string{"TZ=UTC"}, e.env...)
	cmd.Dir = e.config.Dir
	cmd.SysProcAttr = childAttr()
	cmd.ExtraFiles = []*os.File{e.listener}
	cmd.Stdout, cmd.Stderr = said, said
	stdin, err := cmd.StdinPipe() // the child lives while it is open
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	e.pid.Store(int64(cmd.Process.Pid))
	defer e.pid.Store(0)
	_, writeErr := stdin.Write(append(line, '\n'))
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case err = <-exited:
	case <-e.stop:
		err = end(cmd.Process, stdin, exited)
	}
	return said.explain(errors.Join(err, writeErr))
}

// end asks a child to end and, when it takes too long, kills it.
func end(p *os.Process, stdin io.Closer, exited <-chan error) error {
	err := errors.Join(p.Signal(syscall.SIGTERM), stdin.Close())
	timer := time.NewTimer(closeTime + 5*time.Second)
	defer timer.Stop()
	select {
	case waitErr := <-exited:
		return errors.Join(err, waitErr)
	case <-timer.C:
		err = errors.Join(err, p.Kill())
		return errors.Join(err, <-exited)
	}
}

// lines logs what a child writes, line by line, and keeps the last one.
type lines struct {
	log *slog.Logger

	mu   sync.Mutex
	part []byte
	last string
}

const longestLine = 8 << 10

// Write implements [io.Writer].
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, p...)
	for {
		i := bytes.IndexByte(l.part, '\n')
		if i < 0 && len(l.part) > longestLine {
			i = longestLine
		}
		if i < 0 {
			return len(p), nil
		}
		if line := strings.TrimSpace(string(l.part[:i])); line != "" {
			l.last = line
			l.log.Log(context.Background(), slog.LevelDebug, "engine says", "line", line)
		}
		l.part = l.part[min(i+1, len(l.part)):]
	}
}

// explain adds the last line to the error of a child's end.
func (l *lines) explain(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil || l.last == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, l.last)
}
