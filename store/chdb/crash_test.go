package chdb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Acknowledged rows survive the engine's death at any moment, whole batches only.
func TestKilledDuringInserts(t *testing.T) {
	e := start(t, t.TempDir())
	conn := connect(t, e, "")
	do(t, conn, "CREATE DATABASE d ENGINE = Atomic")
	do(t, conn, "CREATE TABLE d.t (batch UInt64, row UInt64) ENGINE = MergeTree ORDER BY (batch, row)")
	const rows = 5000
	var acked []uint64
	var sent uint64
	for round := range 3 {
		var count atomic.Int64
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			for count.Load() < 5 {
				time.Sleep(time.Millisecond)
			}
			send(t, e, syscall.SIGKILL)
		}()
		for {
			sent++
			batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO d.t (batch, row)")
			if err != nil {
				break
			}
			for row := range uint64(rows) {
				if err := batch.Append(sent, row); err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Send(); err != nil {
				break
			}
			acked = append(acked, sent)
			count.Add(1)
		}
		<-killed
		eventually(t, "the engine is back", func() bool { return conn.Ping(t.Context()) == nil })
		if got := e.Restarts(); got != int64(round+1) {
			t.Errorf("restarts = %d, want %d", got, round+1)
		}
	}
	found := map[uint64]uint64{}
	rs, err := conn.Query(t.Context(), "SELECT batch, count() FROM d.t GROUP BY batch")
	if err != nil {
		t.Fatal(err)
	}
	for rs.Next() {
		var batch, n uint64
		if err := rs.Scan(&batch, &n); err != nil {
			t.Fatal(err)
		}
		if n != rows {
			t.Errorf("batch %d has %d rows, want all %d or none", batch, n, rows)
		}
		found[batch] = n
	}
	if err := errors.Join(rs.Err(), rs.Close()); err != nil {
		t.Fatal(err)
	}
	for _, batch := range acked {
		if found[batch] == 0 {
			t.Errorf("batch %d was acknowledged and is lost", batch)
		}
	}
	t.Logf("%d batches acknowledged, %d found", len(acked), len(found))
}

// A parent that dies without a chance to tidy up leaves no engine behind.
func TestNoOrphan(t *testing.T) {
	if _, err := Find(); err != nil {
		start(t, t.TempDir()) // skips or fails
	}
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleEnv+"=parent", "STAKEOUT_TEST_DIR="+dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the engine's process: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the parent ended well")
	}
	eventually(t, "the engine's process is gone", func() bool { return errors.Is(syscall.Kill(child, 0), syscall.ESRCH) || zombie(child) })
	start(t, dir) // and its directory is free
}

// zombie tells whether a process has ended but nobody has collected it: in a
// container there may be no init that does.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}

func TestOneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	_, err := Start(t.Context(), childOptions(dir, testLog(t)))
	if err == nil || !strings.Contains(err.Error(), "in use by another process") || !strings.Contains(err.Error(), strconv.Itoa(first.PID())) {
		t.Errorf("a second engine on the directory: %v, want that process %d uses it", err, first.PID())
	}
}

func TestPasswordStays(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(first.PasswordFile())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("password file: %v, %v; want mode 0600", info.Mode(), err)
	}
	second := start(t, dir)
	if first.config.Password != second.config.Password || len(first.config.Password) < 20 {
		t.Errorf("the password changed from one start to the next, or is short")
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", second.PID())); err == nil && strings.Contains(string(b), second.config.Password) {
		t.Error("the password is on the command line")
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	opt := childOptions(dir, testLog(t))
	opt.Library = os.DevNull
	opt.Listen = "0.0.0.0:0"
	if _, err := Start(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "not a loopback address") {
		t.Errorf("Start on every interface: %v, want a refusal", err)
	}
	taken, err := net.Listen("tcp", defaultListen)
	if err == nil {
		defer taken.Close()
	}
	ln, err := listen("")
	if err != nil {
		t.Fatalf("with the usual port taken: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBadLibrary(t *testing.T) {
	opt := childOptions(t.TempDir(), testLog(t))
	opt.Library = os.DevNull
	_, err := Start(t.Context(), opt)
	if err == nil || !strings.Contains(err.Error(), os.DevNull) {
		t.Errorf("Start with a bad library: %v, want its path", err)
	}
}

// A statement under way ends before the engine does.
func TestCloseIsGraceful(t *testing.T) {
	e := start(t, t.TempDir())
	done := make(chan error, 1)
	go func() {
		resp, err := http.Get(e.URL() + "/?query=SELECT+count()+FROM+system.one+WHERE+sleep(1.5)%3D0")
		if err == nil {
			err = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = errors.New(resp.Status)
			}
		}
		done <- err
	}()
	conn := connect(t, e, "")
	eventually(t, "the statement runs", func() bool {
		var n uint64
		err := conn.QueryRow(context.Background(), "SELECT count() FROM system.processes WHERE query LIKE '%sleep%'").Scan(&n)
		return err == nil && n == 2
	})
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the statement under way: %v", err)
	}
}
