// These tests drive the built binary as its users do: separate processes,
// configuration files and the environment, signals, and, to see what came of it,
// clients of Kafka, NATS and ClickHouse that are not ours.
package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/store/chdb"
)

var binary string // built by TestMain

func TestMain(m *testing.M) {
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "stakeout:", err)
		code = 1
	}
	os.Exit(code)
}

func build(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "stakeout-test-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "stakeout")
	args := []string{"build", "-o", binary, "."}
	if raceDetector() {
		args = []string{"build", "-race", "-o", binary, "."}
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// raceDetector reports whether these tests run under the race detector. Then the
// binary does too, and a race ends it with an exit status that no test takes.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// engine returns where the ClickHouse engine's library is. Without it the test
// is skipped; on CI it has to be there.
func engine(t testing.TB) string {
	t.Helper()
	path, err := chdb.Find()
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if path, err = filepath.Abs(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// environment is that of a user who set nothing but what is given.
func environment(set ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "STAKEOUT_") {
			env = append(env, e)
		}
	}
	return append(env, set...)
}

// result is how a command ended.
type result struct {
	out, err string
	code     int // -1: by a signal
	took     time.Duration
}

// stakeout runs a command to its end, away from the source tree.
func stakeout(t testing.TB, args ...string) result {
	t.Helper()
	return stakeoutWith(t, nil, nil, args...)
}

func stakeoutWith(t testing.TB, env []string, stdin []byte, args ...string) result {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env = t.TempDir(), environment(env...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(2*time.Minute, func() {
		t.Errorf("stakeout %s: still running after two minutes", strings.Join(args, " "))
		_ = cmd.Process.Kill() // it may have ended meanwhile
	})
	defer stuck.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("stakeout %s: %v", strings.Join(args, " "), err)
	}
	r := result{out: out.String(), err: errOut.String(), code: cmd.ProcessState.ExitCode(), took: time.Since(start)}
	if strings.Contains(r.err, "panic:") || strings.Contains(r.err, "goroutine ") {
		t.Errorf("stakeout %s panicked:\n%s", strings.Join(args, " "), r.err)
	}
	return r
}

// must runs a command that has to succeed and returns its standard output.
func must(t testing.TB, args ...string) string {
	t.Helper()
	r := stakeout(t, args...)
	if r.code != 0 {
		t.Fatalf("stakeout %s: exit status %d\n%s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out
}

// answer runs a question with --format json and decodes the rows.
func answer[Row any](t testing.TB, args ...string) []Row {
	t.Helper()
	out := must(t, append(args, "--format", "json")...)
	var rows []Row
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatalf("stakeout %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return rows
}

// eventually asks again until the answer is nil.
func eventually(t testing.TB, within time.Duration, ask func() error) {
	t.Helper()
	end := time.Now().Add(within)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %v", within, err)
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
