package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// NATSConfig says how to reach NATS, and as whom.
type NATSConfig struct {
	URL         string `koanf:"url" json:"url"`                   // one or more, separated by commas
	SeedFile    string `koanf:"seed_file" json:"seed_file"`       // user nkey (SU...) to log in with
	CredsFile   string `koanf:"creds_file" json:"creds_file"`     // JWT credentials to log in with, instead of seed_file
	CAFile      string `koanf:"ca_file" json:"ca_file"`           // PEM of the authorities that vouch for the server; empty: the system's
	CertFile    string `koanf:"cert_file" json:"cert_file"`       // PEM of our own certificate, for mutual TLS
	KeyFile     string `koanf:"key_file" json:"key_file"`         // PEM of its key
	InboxPrefix string `koanf:"inbox_prefix" json:"inbox_prefix"` // where answers arrive; a prefix of one's own keeps other users from listening
	Insecure    bool   `koanf:"insecure" json:"insecure"`         // allow a connection without TLS to another machine
}

// DefaultNATSConfig reaches a server on this machine.
func DefaultNATSConfig() NATSConfig { return NATSConfig{URL: "nats://127.0.0.1:4222"} }

// Validate lists everything wrong with c.
func (c NATSConfig) Validate() error {
	var errs []error
	add := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if c.URL == "" {
		add("url: is empty, want nats://host:port")
	}
	for s := range strings.SplitSeq(c.URL, ",") {
		if c.URL == "" {
			break
		}
		u, err := url.Parse(strings.TrimSpace(s))
		switch {
		case err != nil || u.Host == "":
			add("url: is not an address, want nats://host:port or tls://host:port") // not shown: it may hold a password
		case u.Scheme != "nats" && u.Scheme != "tls":
			add("url: has the scheme %q, want nats or tls", u.Scheme)
		case u.User != nil:
			add("url: holds a name or password, want them in seed_file or creds_file")
		case !c.secure(u) && !c.Insecure:
			add("url: %s is another machine and the connection has no TLS; want tls://, ca_file, or insecure: true", u.Host)
		}
	}
	if c.SeedFile != "" && c.CredsFile != "" {
		add("creds_file: is set beside seed_file, want one of the two")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		add("cert_file: and key_file belong together, want both or neither")
	}
	if strings.ContainsAny(c.InboxPrefix, "*> \t") || strings.HasSuffix(c.InboxPrefix, ".") {
		add("inbox_prefix: is %q, want a subject without wildcards", c.InboxPrefix)
	}
	return errors.Join(errs...)
}

// secure reports whether a connection to u is encrypted or never leaves this machine.
func (c NATSConfig) secure(u *url.URL) bool {
	if u.Scheme == "tls" || c.CAFile != "" || c.CertFile != "" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// Connect opens a connection that goes on trying for ever: a server that is
// away shows as an error of each request, not as the end of the connection. A
// server that is there and does not let us in, or is not the one we trust, is an
// error at once; if that happens later the connection waits for it to be mended.
func Connect(c NATSConfig, name string, log *slog.Logger) (*nats.Conn, error) {
	opts, err := c.options(name, log)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(c.URL, opts...)
	if err == nil {
		return nc, nil
	}
	if lockedOut(err) {
		return nil, fmt.Errorf("connect to nats %s: %w", c.URL, advise(err))
	}
	away := advise(err)
	if nc, err = nats.Connect(c.URL, append(opts, nats.RetryOnFailedConnect(true))...); err != nil {
		return nil, fmt.Errorf("connect to nats %s: %w", c.URL, err)
	}
	log.Warn("nats is away, trying on", "url", c.URL, "err", away)
	return nc, nil
}

// options reads the files that c names.
func (c NATSConfig) options(name string, log *slog.Logger) ([]nats.Option, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	opts := []nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a user that is missing after a server's restart may be put back
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectBufSize(-1), // nothing is kept to be sent later, when it may no longer be true
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("nats disconnected", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("nats connected again", "url", nc.ConnectedUrl()) }),
		nats.ErrorHandler(tell(log)),
	}
	if c.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	if c.SeedFile != "" {
		opt, err := nats.NkeyOptionFromSeed(c.SeedFile)
		if err != nil {
			return nil, fmt.Errorf("seed_file: %s: %w", c.SeedFile, err)
		}
		opts = append(opts, opt)
	}
	if c.CredsFile != "" {
		if _, err := os.Stat(c.CredsFile); err != nil {
			return nil, fmt.Errorf("creds_file: %w", err)
		}
		opts = append(opts, nats.UserCredentials(c.CredsFile))
	}
	if c.CAFile != "" {
		opts = append(opts, named("ca_file", nats.RootCAs(c.CAFile)))
	}
	if c.CertFile != "" {
		opts = append(opts, named("cert_file", nats.ClientCert(c.CertFile, c.KeyFile)))
	}
	return opts, nil
}

// named puts the key of a setting before what is wrong with its file.
func named(key string, opt nats.Option) nats.Option {
	return func(o *nats.Options) error {
		if err := opt(o); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
