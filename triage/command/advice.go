package command

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// hungUp is for a server that hangs up after the handshake. That is how TLS 1.3
// shows that it refuses our certificate, and what a server does that stops just then.
const hungUp = "the server may want a certificate of ours, or not accept it: check cert_file and key_file"

// lockedOut reports whether waiting will not mend an error.
func lockedOut(err error) bool {
	a := advice(err)
	return a != "" && a != hungUp
}

// advice is which setting to look at for an error of security, or empty.
func advice(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		remote  *net.OpError
	)
	switch {
	case errors.As(err, &unknown):
		return "set ca_file to the authority that signed the server's certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the server's certificate, or set the clock right"
	case errors.As(err, &host):
		return "use the name in the server's certificate in url"
	case errors.As(err, &cert):
		return "give the server a certificate for servers that ca_file vouches for"
	case errors.Is(err, nats.ErrSecureConnWanted), errors.As(err, &record):
		return "the server has no TLS on this port: give it a certificate, or on this machine use nats:// without ca_file and cert_file"
	case errors.As(err, &remote) && remote.Op == "remote error":
		return hungUp
	case errors.Is(err, nats.ErrAuthorization):
		return "the server does not know this user: set seed_file or creds_file, and list its public key among the server's users"
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		return "the server no longer lets this user in: renew creds_file"
	case errors.Is(err, nats.ErrTLS):
		return hungUp
	}
	return ""
}

// advise adds advice to an error, where there is any.
func advise(err error) error {
	if a := advice(err); a != "" {
		return fmt.Errorf("%w (%s)", err, a)
	}
	return err
}

// Down returns an error while nc has no server, and says why as far as the
// server said it.
func Down(nc *nats.Conn) error {
	if nc == nil {
		return errors.New("nats: not connected yet")
	}
	s := nc.Status()
	if s == nats.CONNECTED {
		return nil
	}
	state := strings.ToLower(s.String())
	if err := nc.LastError(); err != nil {
		return fmt.Errorf("nats: %s: %w", state, advise(err))
	}
	return fmt.Errorf("nats: %s", state)
}

// tellAgain is after how long an error that goes on is told again.
const tellAgain = 30 * time.Second

// tell logs what goes wrong on a connection, and what goes on being wrong once
// in a while. The client calls it from one goroutine.
func tell(log *slog.Logger) nats.ErrHandler {
	var last string
	var at time.Time
	return func(_ *nats.Conn, sub *nats.Subscription, err error) {
		subject := ""
		if sub != nil {
			subject = sub.Subject
		}
		text := subject + " " + err.Error()
		if text == last && time.Since(at) < tellAgain {
			return
		}
		last, at = text, time.Now()
		log.Warn("nats error", "err", advise(err), "subject", subject)
	}
}
