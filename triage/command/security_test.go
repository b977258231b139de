package command

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
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
	"github.com/nats-io/nkeys"

	"github.com/stakeout-project/stakeout/deploy/certs"
	"github.com/stakeout-project/stakeout/deploy/local"
)

// notes is a log that a test reads while others write it.
type notes struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(b)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

func noting(t *testing.T) (*slog.Logger, *notes) {
	n := &notes{}
	return slog.New(slog.NewTextHandler(io.MultiWriter(n, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug})), n
}

func startNATS(t *testing.T, cfg local.NATSConfig) *local.NATS {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	n, err := local.StartNATS(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func as(n *local.NATS, role local.NATSRole, ca string) NATSConfig {
	return NATSConfig{URL: n.URL(), SeedFile: n.SeedFile(role), InboxPrefix: n.InboxPrefix(role), CAFile: ca}
}

// TestSecureNATS meets a server that wants TLS and a key: every role gets in,
// and whoever is wrong in one thing is told in which.
func TestSecureNATS(t *testing.T) {
	ca, stranger := certs.New(t), certs.New(t)
	serving := func(c certs.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{c.Pair}}
	}
	n := startNATS(t, local.NATSConfig{TLS: serving(ca.Issue(t, "nats"))})
	old := startNATS(t, local.NATSConfig{TLS: serving(ca.Expired(t, "nats"))})
	open := startNATS(t, local.NATSConfig{})
	mutual := serving(ca.Issue(t, "nats"))
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool
	both := startNATS(t, local.NATSConfig{TLS: mutual})
	if !strings.HasPrefix(n.URL(), "tls://") {
		t.Fatalf("the server with TLS is at %s", n.URL())
	}

	log, _ := noting(t)
	for _, role := range local.NATSRoles() {
		nc, err := Connect(as(n, role, ca.File), "test", log)
		if err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		t.Cleanup(nc.Close)
		if _, err := nc.TLSConnectionState(); err != nil || Down(nc) != nil {
			t.Errorf("%s: encrypted: %v; down: %v", role, err, Down(nc))
		}
		if role != local.TriageRole {
			continue
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if err := Provision(t.Context(), js, DefaultLayout()); err != nil {
			t.Errorf("over TLS: %v", err)
		}
	}
	ours := ca.Issue(t, "triage")
	withCert := as(both, local.TriageRole, ca.File)
	withCert.CertFile, withCert.KeyFile = ours.CertFile, ours.KeyFile
	nc, err := Connect(withCert, "test", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)

	f := func(name, want string, at *local.NATS, change func(*NATSConfig)) {
		t.Run(name, func(t *testing.T) {
			log, said := noting(t)
			cfg := as(at, local.TriageRole, ca.File)
			change(&cfg)
			begun := time.Now()
			nc, err := Connect(cfg, "test", log)
			if nc != nil {
				nc.Close()
			}
			// Who hears of a refusal only after the handshake is left to retry, and is told.
			if text := errorText(err) + said.String(); !strings.Contains(text, want) || err == nil && want != hungUp {
				t.Errorf("Connect = %v, want an error that contains %q; logged: %s", err, want, said)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			seed, ferr := os.ReadFile(at.SeedFile(local.TriageRole))
			if ferr != nil {
				t.Fatal(ferr)
			}
			for _, text := range []string{said.String(), errorText(err)} {
				if strings.Contains(text, string(bytes.TrimSpace(seed))) {
					t.Errorf("the seed is shown: %s", text)
				}
			}
		})
	}
	url := n.URL()
	f("wrong authority", "connect to nats "+url+": nats: tls error: tls: failed to verify certificate: x509: certificate signed by unknown authority", n,
		func(c *NATSConfig) { c.CAFile = stranger.File })
	f("authority unknown to the system", "(set ca_file ", n, func(c *NATSConfig) { c.CAFile = "" })
	f("another name", "(use the name in the server's certificate in url)", n,
		func(c *NATSConfig) { c.URL = strings.Replace(url, "127.0.0.1", "localhost", 1) })
	f("expired certificate", "(renew the server's certificate", old, func(*NATSConfig) {})
	f("no key", "(the server does not know this user: set seed_file", n, func(c *NATSConfig) { c.SeedFile = "" })
	f("key of another server", "(the server does not know this user: set seed_file", n, func(c *NATSConfig) { c.SeedFile = open.SeedFile(local.TriageRole) })
	f("key that signs", "seed_file: ", n, func(c *NATSConfig) { c.SeedFile = n.SigningFile(local.TriageRole) })
	f("no such key", "seed_file: ", n, func(c *NATSConfig) { c.SeedFile = "/nowhere" })
	f("no such authority", "ca_file: ", n, func(c *NATSConfig) { c.CAFile = "/nowhere" })
	f("no such certificate", "cert_file: ", n, func(c *NATSConfig) { c.CertFile, c.KeyFile = "/nowhere", "/nowhere" })
	f("TLS where there is none", "(the server has no TLS on this port", open, func(c *NATSConfig) {})
	f("TLS by the URL alone where there is none", "(the server has no TLS on this port", open,
		func(c *NATSConfig) { c.URL, c.CAFile = strings.Replace(c.URL, "nats:", "tls:", 1), "" })
	f("no certificate of ours", hungUp, both, func(*NATSConfig) {})
	theirs, gone := stranger.Issue(t, "triage"), ca.Expired(t, "triage")
	f("certificate of ours by a stranger", hungUp, both, func(c *NATSConfig) { c.CertFile, c.KeyFile = theirs.CertFile, theirs.KeyFile })
	f("certificate of ours expired", hungUp, both, func(c *NATSConfig) { c.CertFile, c.KeyFile = gone.CertFile, gone.KeyFile })

	t.Run("a client without TLS", func(t *testing.T) { refusesPlain(t, strings.TrimPrefix(url, "tls://")) })
}

// TestAdvice holds that a certificate that is wrong in a rare way is not taken
// for a server that hangs up, and that what waiting mends gets no advice.
func TestAdvice(t *testing.T) {
	f := func(err error, want bool) {
		t.Helper()
		if got := lockedOut(err); got != want {
			t.Errorf("lockedOut(%v) = %t, want %t; advice: %s", err, got, want, advice(err))
		}
	}
	rare := &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}}
	f(fmt.Errorf("%w: %w", nats.ErrTLS, rare), true)
	f(nats.ErrAuthExpired, true)
	f(fmt.Errorf("%w: connection closed by remote: %w", nats.ErrTLS, io.EOF), false)
	f(nats.ErrNoServers, false)
	f(nats.ErrTimeout, false)
	f(io.EOF, false)
}

// refusesPlain speaks to the server as a client that does not encrypt.
func refusesPlain(t *testing.T, addr string) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "CONNECT {\"verbose\":true}\r\nPUB stakeout.action.page.a 1\r\nx\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	// Only what says who the server is goes out in the clear, before it hangs up.
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if line := lines.Text(); line == "+OK" || line == "PONG" {
			t.Errorf("the server says %s to a client without TLS", line)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestLockedOutAfterwards takes a server away, then lets its address be that of
// one that does not know us, and brings it back: the connection says what is
// wrong and works again without anybody's help.
func TestLockedOutAfterwards(t *testing.T) {
	ca := certs.New(t)
	cfg := local.NATSConfig{Dir: t.TempDir(), TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, "nats").Pair}}}
	n := startNATS(t, cfg)
	log, said := noting(t)
	nc, err := Connect(as(n, local.TriageRole, ca.File), "test", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)

	cfg.Listen = strings.TrimPrefix(n.URL(), "tls://")
	n.Close()
	stranger := local.NATSConfig{Dir: t.TempDir(), Listen: cfg.Listen, TLS: cfg.TLS}
	other := startNATS(t, stranger)
	if other.URL() != n.URL() {
		t.Fatalf("somebody took %s meanwhile", n.URL())
	}
	const lockedOut = "(the server does not know this user"
	wait(t, "Down says why", func() bool { return strings.Contains(errorText(Down(nc)), lockedOut) })
	wait(t, "the log says why", func() bool { return strings.Contains(said.String(), "the server does not know this user") })
	wait(t, "it was tried three times", func() bool { return nc.Stats().Reconnects >= 3 })
	other.Close()

	startNATS(t, cfg)
	wait(t, "it is connected again", func() bool { return Down(nc) == nil })
	if told := strings.Count(said.String(), "nats error"); told > 2 {
		t.Errorf("the same error was logged %d times", told)
	}
}

// TestAwayAtFirst connects before there is a server.
func TestAwayAtFirst(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := local.NATSConfig{Dir: t.TempDir(), Listen: ln.Addr().String()}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	seed := userSeed(t)
	log, said := noting(t)
	nc, err := Connect(NATSConfig{URL: "nats://" + cfg.Listen, SeedFile: seed}, "test", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if !strings.Contains(said.String(), "nats is away") || Down(nc) == nil {
		t.Errorf("the log says %q, Down %v", said, Down(nc))
	}
	n := startNATS(t, cfg)
	if n.URL() != "nats://"+cfg.Listen {
		t.Fatalf("somebody took %s meanwhile", cfg.Listen)
	}
	wait(t, "it is locked out, and says so", func() bool { return strings.Contains(errorText(Down(nc)), "(the server does not know this user") })
	if s := nc.Status(); s == nats.CLOSED {
		t.Error("the connection has given up")
	}
}

func userSeed(t *testing.T) (file string) {
	t.Helper()
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}
