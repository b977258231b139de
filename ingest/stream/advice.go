package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/segmentio/kafka-go"
)

// advised is an error with the place it happened at and what to do about it.
type advised struct {
	brokers []string
	err     error
	advice  string
}

func (e *advised) Error() string {
	return fmt.Sprintf("kafka at %s: %v (%s)", strings.Join(e.brokers, ","), e.err, e.advice)
}

func (e *advised) Unwrap() error { return e.err }

// advise adds to an error of security which setting to look at. Other errors
// stay as they are: waiting mends them, or they speak for themselves.
func (c *Client) advise(err error) error {
	var already *advised
	if err == nil || errors.As(err, &already) {
		return err
	}
	advice := tlsAdvice(c.cfg.TLS, err)
	if advice == "" {
		advice = c.loginAdvice(err)
	}
	if advice == "" {
		return err
	}
	return &advised{c.cfg.Brokers, err, advice}
}

// tlsAdvice is what to do about a handshake that failed, or empty.
func tlsAdvice(t TLS, err error) string {
	var (
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		record  tls.RecordHeaderError
		remote  *net.OpError
	)
	switch {
	case errors.As(err, &unknown) && t.CAFile == "":
		return "set tls.ca_file to the authority of the brokers: the system does not know it"
	case errors.As(err, &unknown):
		return "tls.ca_file holds another authority than the one that signed the broker's certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the broker's certificate, or set the clock right"
	case errors.As(err, &host):
		return "use the name in the certificate in brokers, or set tls.server_name to it"
	case errors.As(err, &record):
		return "the broker does not speak TLS on this port: use the port that does, or tls.enabled: false"
	case errors.As(err, &remote) && remote.Op == "remote error" && t.CertFile == "":
		return "the broker wants a certificate of ours: set tls.cert_file and tls.key_file"
	case errors.As(err, &remote) && remote.Op == "remote error":
		return "the broker does not accept tls.cert_file"
	}
	return ""
}

// loginAdvice is what to do about a broker that does not let us in, or empty.
func (c *Client) loginAdvice(err error) string {
	s := c.cfg.SASL
	switch {
	case errors.Is(err, kafka.SASLAuthenticationFailed):
		source := "sasl.password_file"
		if s.PasswordEnv != "" {
			source = "sasl.password_env"
		}
		return fmt.Sprintf("the broker does not know the user %q with this password and mechanism: check sasl.username, %s and sasl.mechanism", s.Username, source)
	case errors.Is(err, kafka.UnsupportedSASLMechanism):
		return fmt.Sprintf("the broker does not offer %s: set sasl.mechanism to one that it does", s.Mechanism)
	case errors.Is(err, kafka.IllegalSASLState):
		return "the broker wants no authentication on this port: use the port that does, or leave sasl empty"
	case !c.health.silent():
		return ""
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return c.closedAdvice()
	case c.cfg.TLS.Enabled && errors.Is(err, context.DeadlineExceeded):
		return "no broker has answered yet: is it TLS that it speaks on this port?"
	}
	return ""
}

// closedAdvice is for a broker that closes the connection without a word: it
// heard something that it does not expect on this port.
func (c *Client) closedAdvice() string {
	var wants []string
	if c.cfg.TLS.Enabled {
		wants = append(wants, "no TLS")
	} else {
		wants = append(wants, "TLS: tls.enabled is false")
	}
	if c.cfg.SASL.Mechanism == "" {
		wants = append(wants, "authentication: sasl.mechanism is empty")
	}
	return "the broker closes connections before it answers; it may want " + strings.Join(wants, ", or ")
}
