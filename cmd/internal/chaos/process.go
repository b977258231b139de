package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A part is something that can be killed and frozen: a process of ours, or a
// real broker.
type part interface {
	String() string
	start() error
	kill() error
	freeze() error
	thaw() error
	revive() error // starts it again if it ended by itself, and forgives that
}

// A process is a part that is the binary under test. It ends with the harness.
type process struct {
	name   string
	args   []string
	log    string             // file that standard error is added to
	health string             // URL of a role's health and metrics
	says   func(string) error // takes the first line of standard output, where there is one to wait for

	mu     sync.Mutex
	cmd    *exec.Cmd // nil when it is down
	exited chan struct{}
	told   bool   // to end
	fell   string // how it ended by itself, if it did
}

const readyTimeout = time.Minute

func (p *process) String() string { return p.name }

// start starts the process and, where it says when it is ready, waits for that.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stderr = log
	out, in, err := os.Pipe()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	cmd.Stdout = in
	exited, started := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(exited)
		p.ended(cmd, runTied(cmd, started))
	}()
	err = errors.Join(<-started, log.Close(), in.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", p.name, err), out.Close())
	}
	p.cmd, p.exited, p.told = cmd, exited, false
	first := make(chan string, 1)
	go func() {
		defer out.Close()
		lines := bufio.NewReader(out)
		line, err := lines.ReadString('\n')
		first <- line
		if err == nil {
			_, err = io.Copy(io.Discard, lines)
		}
		if err != nil {
			return // the process is gone
		}
	}()
	if p.says == nil {
		return nil
	}
	select {
	case line := <-first:
		if err := p.says(strings.TrimSpace(line)); err != nil {
			return fmt.Errorf("start %s: it says %q: %w", p.name, line, err)
		}
		return nil
	case <-time.After(readyTimeout):
		return fmt.Errorf("start %s: not ready after %s", p.name, readyTimeout)
	}
}

// ended notes the end of a process that nobody told to end.
func (p *process) ended(cmd *exec.Cmd, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != cmd {
		return
	}
	p.cmd = nil
	if !p.told {
		p.fell = fmt.Sprintf("%s ended by itself: %v", p.name, errors.Join(err, errors.New("see "+p.log)))
	}
}

// kill ends the process at once, as a crash does.
func (p *process) kill() error {
	p.mu.Lock()
	cmd, exited := p.cmd, p.exited
	p.told = true
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := signal(cmd.Process.Pid, syscall.SIGKILL); err != nil {
		return err
	}
	<-exited
	return nil
}

func (p *process) freeze() error { return p.all(syscall.SIGSTOP) }
func (p *process) thaw() error   { return p.all(syscall.SIGCONT) }

// all signals the process and its children, such as that of the engine.
func (p *process) all(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	pids, err := children(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	for _, pid := range append(pids, p.cmd.Process.Pid) {
		if err := signal(pid, s); err != nil {
			return err
		}
	}
	return nil
}

func (p *process) revive() error {
	p.forgive()
	return p.start()
}

// forgive forgets that the process ended by itself.
func (p *process) forgive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fell = ""
}

func (p *process) fallen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fell
}

func signal(pid int, s syscall.Signal) error {
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %d: %w", pid, err)
	}
	return nil
}

func children(of int) ([]int, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		var pid, parent int
		if _, err := fmt.Sscan(line, &pid, &parent); err == nil && parent == of {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
