// Package local runs the parts that a laptop lacks: a message broker, a NATS
// server and, for demonstrations, an identity provider. They are the real
// things, on loopback, with their data in a directory of ours.
package local

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSConfig says where the embedded NATS server listens and keeps its data.
type NATSConfig struct {
	Dir    string `koanf:"dir"`    // holds data and keys
	Listen string `koanf:"listen"` // host and port; a taken port is replaced by a free one

	// TLS has every client encrypt, and show a certificate if it says so.
	TLS *tls.Config `koanf:"-"`
}

// Validate lists everything wrong with c.
func (c NATSConfig) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("dir: is empty, want a directory"))
	}
	if host, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: is %q, want host:port", c.Listen))
	} else if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		errs = append(errs, fmt.Errorf("listen: is %q, want a loopback address: the embedded server is for this machine", c.Listen))
	}
	return errors.Join(errs...)
}

// NATS is a running NATS server with JetStream on disk.
type NATS struct {
	server *server.Server
	keys   map[NATSRole]natsKeys
	stop   context.CancelFunc
	healer sync.WaitGroup
}

// StartNATS starts a server and returns when it answers. Every role of
// [NATSRoles] is a user of its own that may do what the role needs and no more.
//
// Acknowledged messages survive the end of the process at any instruction; they
// are synced to disk every second, so a power cut may cost that second.
func StartNATS(c NATSConfig, log *slog.Logger) (*NATS, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	host, port, err := freeAddress(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("nats: listen: %w", err)
	}
	keys, err := loadKeys(filepath.Join(c.Dir, "keys"))
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	opts := &server.Options{
		ServerName:   "stakeout",
		Host:         host,
		Port:         port,
		JetStream:    true,
		StoreDir:     filepath.Join(c.Dir, "data"),
		SyncInterval: time.Second,
		NoSigs:       true, // the process is not the server's to end
		MaxPayload:   1 << 20,
		TLS:          c.TLS != nil,
		TLSConfig:    c.TLS,
	}
	for _, role := range NATSRoles() {
		opts.Nkeys = append(opts.Nkeys, &server.NkeyUser{Nkey: keys[role].user, Permissions: permissions(role)})
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	s.SetLoggerV2(natsLog{log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, errors.New("nats: the server did not come up within 20s")
	}
	ctx, stop := context.WithCancel(context.Background())
	n := &NATS{server: s, keys: keys, stop: stop}
	n.healer.Go(func() { heal(ctx, s, opts.StoreDir, log) })
	return n, nil
}

// freeAddress splits addr and replaces its port by a free one if somebody listens there already.
func freeAddress(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, fmt.Errorf("port %q of %s: %w", text, addr, err)
	}
	if port == 0 {
		return host, server.RANDOM_PORT, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return host, server.RANDOM_PORT, nil
	}
	return host, port, l.Close()
}

// URL returns where clients connect.
func (n *NATS) URL() string { return n.server.ClientURL() }

// Close stops the server and waits until its files are closed.
func (n *NATS) Close() {
	n.stop()
	n.healer.Wait()
	n.server.Shutdown()
	n.server.WaitForShutdown()
}

// natsLog writes the server's log to ours.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Noticef(format string, a ...any) {
	l.log.Debug("nats server", "text", fmt.Sprintf(format, a...))
}
func (l natsLog) Debugf(format string, a ...any) {
	l.log.Debug("nats server", "text", fmt.Sprintf(format, a...))
}
func (l natsLog) Tracef(format string, a ...any) {
	l.log.Debug("nats server", "text", fmt.Sprintf(format, a...))
}
func (l natsLog) Warnf(format string, a ...any) {
	l.log.Warn("nats server", "text", fmt.Sprintf(format, a...))
}
func (l natsLog) Errorf(format string, a ...any) {
	l.log.Error("nats server", "text", fmt.Sprintf(format, a...))
}
func (l natsLog) Fatalf(format string, a ...any) {
	l.log.Error("nats server", "text", fmt.Sprintf(format, a...))
}

// makePrivate makes dir, for its owner only.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}
