package local

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func startNATS(t *testing.T, dir string) *NATS {
	t.Helper()
	c := NATSConfig{Dir: dir, Listen: "127.0.0.1:0"}
	n, err := StartNATS(c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// connect returns a connection as role, and the violations the server reports to it.
func connect(t *testing.T, n *NATS, role NATSRole) (*nats.Conn, func() string) {
	t.Helper()
	opts, err := n.Options(role)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string
	opts = append(opts, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, err.Error())
	}))
	nc, err := nats.Connect(n.URL(), opts...)
	if err != nil {
		t.Fatalf("connect as %s: %v", role, err)
	}
	t.Cleanup(nc.Close)
	return nc, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(seen, "\n")
	}
}

func TestNATSKeepsStreamsAndKeysAcrossRestart(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := startNATS(t, dir)
	key := n.SigningKey(TriageRole)
	nc, _ := connect(t, n, TriageRole)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ACTIONS", Subjects: []string{"stakeout.action.>"}, Storage: jetstream.FileStorage}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "stakeout.action.page.a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	n.Close()

	n = startNATS(t, dir)
	if got := n.SigningKey(TriageRole); got != key {
		t.Errorf("signing key after a restart is %s, was %s", got, key)
	}
	nc, _ = connect(t, n, TriageRole)
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(ctx, "ACTIONS")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("%d messages after a restart, want 1", got)
	}
}

func TestNATSKeysArePrivate(t *testing.T) {
	dir := t.TempDir()
	n := startNATS(t, dir)
	info, err := os.Stat(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("directory of keys has mode %o, want 0700", info.Mode().Perm())
	}
	for _, role := range NATSRoles() {
		for _, path := range []string{n.SeedFile(role), n.SigningFile(role)} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %o, want 0600", path, info.Mode().Perm())
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "keys", ".new-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("files left behind: %v, %v", left, err)
	}
}

func TestNATSTakesAFreePortWhenItsOwnIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := NATSConfig{Dir: t.TempDir(), Listen: l.Addr().String()}
	n, err := StartNATS(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	if strings.HasSuffix(n.URL(), c.Listen) {
		t.Errorf("URL is %s, which is taken", n.URL())
	}
	connect(t, n, GatewayRole)
}

func TestNATSRefusesStrangers(t *testing.T) {
	n := startNATS(t, t.TempDir())
	other := startNATS(t, t.TempDir())
	if nc, err := nats.Connect(n.URL()); err == nil {
		nc.Close()
		t.Error("connected without a key")
	}
	opts, err := other.Options(TriageRole)
	if err != nil {
		t.Fatal(err)
	}
	if nc, err := nats.Connect(n.URL(), opts...); err == nil {
		nc.Close()
		t.Error("connected with another server's key")
	}
}

func TestNATSPermissions(t *testing.T) {
	n := startNATS(t, t.TempDir())
	deny := func(role NATSRole, subjects ...string) {
		t.Helper()
		nc, seen := connect(t, n, role)
		for _, subject := range subjects {
			if err := nc.Publish(subject, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for _, subject := range subjects {
			for !strings.Contains(seen(), `Publish to "`+subject+`"`) {
				if err := tick(ctx); err != nil {
					t.Errorf("%s may publish to %s; violations seen:\n%s", role, subject, seen())
					break
				}
			}
		}
	}
	deny(ExecutorRole, "stakeout.action.page.a", "stakeout.outcome.1", "stakeout.approval.1", "$KV.posture.a", "$KV.actions.a",
		"$JS.API.CONSUMER.MSG.NEXT.ACTIONS.store", "$JS.API.CONSUMER.CREATE.ACTIONS.x", "$JS.API.STREAM.DELETE.ACTIONS")
	deny(GatewayRole, "stakeout.action.page.a", "stakeout.ack.1", "stakeout.approval.1", "$KV.posture.a", "$JS.API.STREAM.INFO.KV_incidents",
		"$JS.API.DIRECT.GET.ACTIONS", "$JS.API.CONSUMER.CREATE.KV_actions.x", "$JS.API.STREAM.DELETE.KV_posture")
	deny(StoreRole, "stakeout.action.page.a", "stakeout.outcome.1", "$KV.posture.a", "$JS.API.CONSUMER.MSG.NEXT.ACTIONS.executor-page")
	deny(OperatorRole, "stakeout.action.page.a", "stakeout.outcome.1", "stakeout.ack.1", "$KV.posture.a", "$KV.actions.a")
	deny(TriageRole, "stakeout.ack.1", "stakeout.approval.1", "$JS.API.STREAM.DELETE.ACTIONS", "$JS.API.STREAM.PURGE.ACTIONS")

	nc, seen := connect(t, n, GatewayRole)
	for _, subject := range []string{"stakeout.>", "_INBOX_triage.>", "$KV.posture.>", ">"} {
		if _, err := nc.SubscribeSync(subject); err != nil && !errors.Is(err, nats.ErrPermissionViolation) {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for strings.Count(seen(), "Subscription to") < 4 {
		if err := tick(ctx); err != nil {
			t.Fatalf("a gateway may listen to everything; violations seen:\n%s", seen())
		}
	}
}

// tick waits a moment between two looks at something.
func tick(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Millisecond):
		return nil
	}
}
