package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// process is a command that runs until it is told to end.
type process struct {
	t      testing.TB
	name   string
	cmd    *exec.Cmd
	stderr string // file
	first  chan string
	exited chan struct{}
}

// begin starts a command. It is killed when the test ends, and what it logged
// is shown if the test failed.
func begin(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: args[0], cmd: exec.Command(binary, args...), stderr: filepath.Join(t.TempDir(), args[0]+".log"),
		first: make(chan string, 1), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = t.TempDir(), environment(env...)
	log, err := os.Create(p.stderr)
	check(t, err)
	p.cmd.Stderr = log
	stdout, err := p.cmd.StdoutPipe()
	check(t, err)
	check(t, p.cmd.Start())
	check(t, log.Close())
	go func() {
		defer close(p.exited)
		defer close(p.first)
		lines := bufio.NewScanner(stdout)
		if lines.Scan() {
			p.first <- lines.Text()
		}
		for lines.Scan() {
		}
		_ = p.cmd.Wait() // how it ended is in its ProcessState
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.exited
		text := p.log()
		if strings.Contains(text, "panic:") || strings.Contains(text, "DATA RACE") {
			t.Errorf("%s panicked", p.name)
		}
		if t.Failed() {
			lines := strings.Split(text, "\n")
			t.Logf("%s logged, at last:\n%s", p.name, strings.Join(lines[max(0, len(lines)-60):], "\n"))
		}
	})
	return p
}

func (p *process) log() string {
	text, err := os.ReadFile(p.stderr)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal %s: %v", p.name, err)
	}
}

// wait waits for the end and returns the exit status; -1 is by a signal.
func (p *process) wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("%s (pid %d) still runs after %s", p.name, p.cmd.Process.Pid, within)
		return -1
	}
}

// stop ends it as Ctrl-C does: quickly, and with success.
func (p *process) stop() {
	p.t.Helper()
	children := p.children()
	start := time.Now()
	p.signal(syscall.SIGINT)
	if code := p.wait(5 * time.Second); code != 0 {
		p.t.Errorf("%s stopped by SIGINT: exit status %d, want 0", p.name, code)
	}
	p.t.Logf("%s stopped within %s", p.name, time.Since(start).Round(time.Millisecond))
	p.gone(children)
}

// kill ends it as a crash does.
func (p *process) kill() {
	p.t.Helper()
	children := p.children()
	p.signal(syscall.SIGKILL)
	p.wait(5 * time.Second)
	p.gone(children)
}

// gone waits until processes have ended.
func (p *process) gone(pids []int) {
	p.t.Helper()
	for _, pid := range pids {
		eventually(p.t, 5*time.Second, func() error {
			// One that ended and that nobody waits for is a zombie (Z).
			state, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
			if s := strings.TrimSpace(string(state)); err == nil && s != "" && s[0] != 'Z' {
				return fmt.Errorf("child %d of %s lives (%s)", pid, p.name, s)
			}
			return nil
		})
	}
}

// children are the processes that it started and that live.
func (p *process) children() []int {
	p.t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	check(p.t, err)
	var pids []int
	for line := range strings.Lines(string(out)) {
		var pid, parent int
		if _, err := fmt.Sscan(line, &pid, &parent); err == nil && parent == p.cmd.Process.Pid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// pipeline is a running `stakeout up`.
type pipeline struct {
	*process
	file   string // its configuration, which other commands are given, too
	dir    string
	kafka  string
	nats   string
	health string
	took   time.Duration // until it said that it is ready

	running addresses
}

// addresses is what running.json tells.
type addresses struct {
	Brokers      []string
	ClickHouse   string
	HTTP         string
	User         string
	PasswordFile string `json:"password_file"`
	Operator     struct {
		Approver string
		NATS     struct {
			URL         string `json:"url"`
			SeedFile    string `json:"seed_file"`
			InboxPrefix string `json:"inbox_prefix"`
		}
	}
}

// settings is a configuration as a user writes it.
type settings map[string]any

// local is a configuration for embedded parts on free ports, changed by more.
func local(dir string, more settings) settings {
	s := settings{
		"up":     settings{"dir": dir, "kafka": "127.0.0.1:0", "nats": "127.0.0.1:0", "clickhouse": "127.0.0.1:0"},
		"http":   settings{"listen": "127.0.0.1:0"},
		"topics": settings{"partitions": 4},
	}
	for k, v := range more {
		s[k] = v
	}
	return s
}

func (s settings) write(t testing.TB) (file string) {
	t.Helper()
	text, err := yaml.Marshal(s)
	check(t, err)
	file = filepath.Join(t.TempDir(), "stakeout.yaml")
	check(t, os.WriteFile(file, text, 0o600))
	return file
}

// up starts the pipeline over a data directory and waits until it is ready.
func up(t testing.TB, dir string, more settings) *pipeline {
	t.Helper()
	return upWith(t, local(dir, more).write(t), dir)
}

var readyLine = regexp.MustCompile(`^kafka (\S+), nats nats://(\S+), clickhouse (http://\S+), health (http://\S+)$`)

func upWith(t testing.TB, file, dir string) *pipeline {
	t.Helper()
	start := time.Now()
	p := &pipeline{process: begin(t, []string{chdbEnv + "=" + engine(t)}, "up", "--config", file), file: file, dir: dir}
	select {
	case line := <-p.first:
		m := readyLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("up says first %q, want the addresses", line)
		}
		p.kafka, p.nats, p.health = m[1], m[2], m[4]
		for _, addr := range m[1:] {
			if strings.HasSuffix(addr, ":0") {
				t.Errorf("up says %q, want the ports that are in use", line)
			}
		}
		text, err := os.ReadFile(filepath.Join(dir, "running.json"))
		check(t, err)
		check(t, json.Unmarshal(text, &p.running))
		if p.running.ClickHouse != m[3] || "http://"+p.running.HTTP != m[4] || p.running.Brokers[0] != m[1] || p.running.Operator.NATS.URL != "nats://"+m[2] {
			t.Errorf("running.json says %s, want what up says: %s", text, line)
		}
	case <-time.After(time.Minute):
		t.Fatal("up is not ready after a minute")
	}
	p.took = time.Since(start)
	return p
}

const chdbEnv = "STAKEOUT_LIBCHDB"

// ship sends a file and returns how many lines were acknowledged.
func (p *pipeline) ship(files ...string) int {
	p.t.Helper()
	r := stakeout(p.t, append([]string{"ship", "--config", p.file, "--format", "json"}, files...)...)
	var sent struct{ Lines, Refused int }
	if err := json.Unmarshal([]byte(r.out), &sent); err != nil || r.code != 0 {
		p.t.Fatalf("ship: exit status %d, %v\n%s%s", r.code, err, r.out, r.err)
	}
	return sent.Lines
}
