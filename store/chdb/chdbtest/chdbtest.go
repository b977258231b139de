// Package chdbtest gives tests a ClickHouse engine. The engine is a process of
// its own, for which the test binary itself serves: [Child] first in TestMain,
// then [Start] in a test.
package chdbtest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/stakeout-project/stakeout/store/chdb"
)

// childEnv in the environment makes a copy of the test's process an engine.
const childEnv = "STAKEOUT_TEST_ENGINE"

// Child is the engine, and does not return, in a process that [Start] began. In
// any other it does nothing.
func Child() {
	if os.Getenv(childEnv) == "" {
		return
	}
	if err := chdb.Child(context.Background(), os.Stdin, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
		fmt.Fprintln(os.Stderr, "stakeout:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Start starts an engine over a directory, which answers at listen until it is
// closed or the test ends. Where no engine is installed the test is skipped, on
// CI it fails.
func Start(t testing.TB, dir, listen string) *chdb.Engine {
	t.Helper()
	if _, err := chdb.Find(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e, err := chdb.Start(t.Context(), chdb.Options{Dir: dir, Args: []string{exe}, Env: []string{childEnv + "=1"}, Listen: listen,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
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
