package chdb

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

const roleEnv = "STAKEOUT_TEST_ROLE"

// TestMain lets the test binary be the engine's process, and the parent of one.
func TestMain(m *testing.M) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch os.Getenv(roleEnv) {
	case "child":
		signal.Ignore(syscall.SIGXFSZ) // where a test lets it write no large files, the write fails
		exit(Child(context.Background(), os.Stdin, log))
	case "parent":
		exit(parent(log))
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "stakeout:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// parent starts an engine, tells its process, and waits to be killed.
func parent(log *slog.Logger) error {
	e, err := Start(context.Background(), childOptions(os.Getenv("STAKEOUT_TEST_DIR"), log))
	if err != nil {
		return err
	}
	fmt.Println(e.PID())
	select {}
}

func childOptions(dir string, log *slog.Logger) Options {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Options{Dir: dir, Args: []string{exe}, Env: []string{roleEnv + "=child"}, Listen: "127.0.0.1:0", Log: log}
}

// start starts an engine for one test, or skips the test where there is none.
func start(t testing.TB, dir string) *Engine {
	t.Helper()
	if _, err := Find(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	e, err := Start(t.Context(), childOptions(dir, testLog(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// connect opens clickhouse-go over HTTP, as the store does.
func connect(t testing.TB, e *Engine, database string) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{e.Addr()},
		Auth:        clickhouse.Auth{Database: database, Username: e.config.User, Password: e.config.Password},
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionLZ4},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func do(t testing.TB, conn driver.Conn, sql string) {
	t.Helper()
	if err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// send signals the engine's process; there must be one, because process 0 is all of us.
func send(t testing.TB, e *Engine, sig syscall.Signal) {
	t.Helper()
	pid := e.PID()
	if pid == 0 {
		t.Error("the engine has no process")
		return
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Error(err)
	}
}
