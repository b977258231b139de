package compose_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/store/chdb/chdbtest"
)

// TestMain lets the test binary be the ClickHouse engine's process.
func TestMain(m *testing.M) {
	chdbtest.Child()
	os.Exit(m.Run())
}

// nats runs the server of nats.conf, on a free port, and returns its URL.
func nats(t *testing.T, env map[string]string) string {
	t.Helper()
	for key, value := range env {
		if strings.HasPrefix(key, "NATS_") {
			t.Setenv(key, value)
		}
	}
	opts, err := server.ProcessConfigFile("nats/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.HTTPHost, opts.HTTPPort = "127.0.0.1", server.RANDOM_PORT, "", 0
	opts.StoreDir, opts.NoSigs, opts.NoLog = t.TempDir(), true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the NATS server did not come up")
	}
	return s.ClientURL()
}

// environment is what a container of the service would get, with its secrets where init.sh put them.
func environment(t *testing.T, s service, secrets map[string]struct{ File string }, dir string, env map[string]string) []string {
	t.Helper()
	var out []string
	for key, value := range s.Environment {
		value = interpolate(t, value, env)
		if secret, ok := strings.CutPrefix(value, "/run/secrets/"); ok {
			value = filepath.Join(dir, secrets[secret].File)
		}
		out = append(out, key+"="+value)
	}
	return out
}

// TestProgram checks the compose file against the program that it runs.
func TestProgram(t *testing.T) {
	stakeout := build(t, "../../cmd/stakeout")
	t.Run("config", func(t *testing.T) { readsEnvironment(t, stakeout) })
	t.Run("ready", func(t *testing.T) { rolesBecomeReady(t, stakeout) })
	if runtime.GOOS == "linux" {
		t.Run("image", func(t *testing.T) { imageCanRun(t, stakeout) })
	}
}

// readsEnvironment has the program read each role's environment: a key that
// does not exist is an error.
func readsEnvironment(t *testing.T, stakeout string) {
	dir, env := initialised(t)
	f := compose(t)
	for name, s := range f.roles() {
		cmd := exec.CommandContext(t.Context(), stakeout, "config")
		cmd.Env = environment(t, s, f.Secrets, dir, env)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		cmd = exec.CommandContext(t.Context(), stakeout, "config")
		cmd.Env = append(environment(t, s, f.Secrets, dir, env), "STAKEOUT_KAFKA__BROKER=x:1")
		if cmd.Run() == nil {
			t.Errorf("%s: a key that does not exist was taken, so this test proves nothing", name)
		}
	}
}

// rolesBecomeReady runs every role with the environment of its container
// against real servers, of which only the addresses differ, until the health
// check of the compose file is content.
func rolesBecomeReady(t *testing.T, stakeout string) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	engine := chdbtest.Start(t, t.TempDir(), "127.0.0.1:0")
	kcfg := local.DefaultKafkaConfig()
	kcfg.Dir, kcfg.Listen = t.TempDir(), "127.0.0.1:0"
	kafka, err := local.StartKafka(kcfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kafka.Close(); err != nil {
			t.Error(err)
		}
	})
	dir, env := initialised(t)
	bus := nats(t, env)
	probe := build(t, "./probe")
	elsewhere := map[string]string{
		"STAKEOUT_KAFKA__BROKERS": kafka.Addr(), "STAKEOUT_TRIAGE__NATS__URL": bus, "STAKEOUT_ACTIONS__NATS__URL": bus, "STAKEOUT_EXECUTOR__NATS__URL": bus,
		"STAKEOUT_STORE__URL": "http://" + engine.Addr(), "STAKEOUT_STORE__PASSWORD_FILE": engine.PasswordFile(),
	}
	f := compose(t)
	var wg sync.WaitGroup
	for name, s := range f.roles() {
		for key, value := range elsewhere {
			if _, ok := s.Environment[key]; ok {
				s.Environment[key] = value
			}
		}
		s.Environment["STAKEOUT_HTTP__LISTEN"] = freeAddr(t)
		wg.Go(func() { becomesReady(t, stakeout, probe, name, s, environment(t, s, f.Secrets, dir, env)) })
	}
	wg.Wait()
}

func becomesReady(t *testing.T, stakeout, probe, name string, s service, env []string) {
	var said bytes.Buffer
	cmd := exec.Command(stakeout, s.Command...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &said, &said
	if err := cmd.Start(); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	url := "http://" + s.Environment["STAKEOUT_HTTP__LISTEN"]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ready := func() error {
		out, err := exec.CommandContext(ctx, probe, url+"/readyz").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for err := ready(); err != nil; err = ready() {
		select {
		case exit := <-exited:
			t.Errorf("%s ended: %v\n%s", name, exit, &said)
			return
		case <-ctx.Done():
			t.Errorf("%s is not ready: %v", name, err)
			err = nil
		case <-tick.C:
			continue
		}
		break
	}
	if resp, err := http.Get(url + "/metrics"); err != nil {
		t.Errorf("%s: %v", name, err)
	} else if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: /metrics answers %s, %v", name, resp.Status, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if err := <-exited; err != nil {
		t.Errorf("%s did not end well: %v\n%s", name, err, &said)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	return l.Addr().String()
}
