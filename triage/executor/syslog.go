package executor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// syslog sends messages of RFC 5424 over TCP or TLS, framed by their length
// (RFC 6587, RFC 5425). The protocol acknowledges nothing, so each message has a
// connection of its own, which the collector closes when it has read it all.
type syslog struct {
	addr    string
	tls     *tls.Config // nil: plain
	timeout time.Duration
	host    string
}

// parseSyslog allows TLS anywhere and plain TCP on this machine.
func parseSyslog(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Port() == "" || u.User != nil || u.Path != "" {
		return nil, fmt.Errorf("syslog: is %q, want tls://host:port or tcp://host:port", raw)
	}
	ip := net.ParseIP(u.Hostname())
	switch {
	case u.Scheme == "tls":
	case u.Scheme != "tcp":
		return nil, fmt.Errorf("syslog: has the scheme %q, want tls or tcp", u.Scheme)
	case u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()):
		return nil, errors.New("syslog: is tcp to another machine, want tls")
	}
	return u, nil
}

func newSyslog(c OCSFConfig) (*syslog, error) {
	u, err := parseSyslog(c.Syslog)
	if err != nil {
		return nil, err
	}
	s := &syslog{addr: u.Host, timeout: c.Timeout, host: "-"}
	if name, err := os.Hostname(); err == nil && name != "" && len(name) <= 255 {
		s.host = name
	}
	if u.Scheme != "tls" {
		return s, nil
	}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
	if c.CAFile == "" {
		return s, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	s.tls.RootCAs = x509.NewCertPool()
	if !s.tls.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no certificate", c.CAFile)
	}
	return s, nil
}

// audit is syslog's facility for a log of audits.
const audit = 13

func (s *syslog) message(a command.Action, line []byte) []byte {
	level := map[int]int{5: 2, 6: 2, 4: 3, 3: 4, 2: 5}[a.Severity]
	if level == 0 {
		level = 6
	}
	m := fmt.Appendf(nil, "<%d>1 %s %s stakeout - finding - \ufeff%s", audit*8+level, a.Decided.Time().Format("2006-01-02T15:04:05.000000Z07:00"), s.host, line)
	return append(fmt.Appendf(nil, "%d ", len(m)), m...)
}

// send hands one message over. It is verified when the collector has closed the
// connection behind it without an error.
func (s *syslog) send(ctx context.Context, a command.Action, line []byte) (command.Status, string) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	sent, err := s.hand(ctx, s.message(a, line))
	switch {
	case err == nil:
		return command.Verified, "the collector read it to its end"
	case sent:
		return command.Unverified, "sent to the collector, which did not close the connection: " + reason(err)
	}
	return command.Failed, "the collector cannot be reached: " + reason(err)
}

func (s *syslog) hand(ctx context.Context, message []byte) (sent bool, err error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return false, err
	}
	conn := raw
	if s.tls != nil {
		t := tls.Client(raw, s.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			return false, errors.Join(err, raw.Close())
		}
		conn = t
	}
	defer func() {
		if cerr := conn.Close(); err == nil && !errors.Is(cerr, net.ErrClosed) {
			err = cerr
		}
	}()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return false, err
		}
	}
	if _, err := conn.Write(message); err != nil {
		return false, err
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return true, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(conn, maxBody))
	return true, err
}
