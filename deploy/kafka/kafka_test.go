package kafka

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// start starts a broker, or skips where there is no Java or Maven. On CI both
// have to be there.
func start(t *testing.T) *Broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	b, err := Start(ctx, Options{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		t.Skipf("NOT TESTED AGAINST REAL KAFKA: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestBroker(t *testing.T) {
	b := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	want := func(up bool, when string) {
		t.Helper()
		if got := answers(ctx, b.Addr()); got != up {
			t.Fatalf("answers %s: %t, want %t", when, got, up)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want(true, "after Start")
	must(b.Pause())
	want(false, "while paused")
	must(b.Resume())
	must(b.wait(ctx, b.exited))
	must(b.Kill())
	want(false, "after Kill")
	must(b.Restart(ctx))
	want(true, "after Restart")
	if err := b.Restart(ctx); err == nil {
		t.Error("Restart of a running broker is no error")
	}
	must(b.Stop())
	must(b.Stop())
	want(false, "after Stop")
	if err := b.Pause(); err == nil {
		t.Error("Pause of a broker that is down is no error")
	}
}

func TestStartNamesWhatIsMissing(t *testing.T) {
	f := func(want string, path string, cache string) {
		t.Helper()
		t.Setenv("PATH", path)
		t.Setenv("XDG_CACHE_HOME", cache)
		_, err := Start(t.Context(), Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("Start() = %v, want exec.ErrNotFound that names %s", err, want)
		}
	}
	f("java", t.TempDir(), t.TempDir())
	onlyJava := t.TempDir()
	if err := os.WriteFile(onlyJava+"/java", []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	f("mvn", onlyJava, t.TempDir())
}

func TestStartReportsWhatTheBrokerSays(t *testing.T) {
	b := start(t)
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.opts.Dir+"/server.properties", []byte("process.roles=nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Restart(ctx); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("Restart() = %v, want what the broker wrote about it", err)
	}
}
