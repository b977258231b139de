package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"syscall"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// advise says of an error of a request where it happened, and of one of security
// which setting to look at.
func (c Config) advise(err error) error {
	a, perr := parse(c.URL)
	if err == nil || perr != nil {
		return err
	}
	advice := c.advice(err)
	err = fmt.Errorf("clickhouse at %s: %w", a.host, cause(err))
	if advice != "" {
		return fmt.Errorf("%w (%s)", err, advice)
	}
	return err
}

// cause is what is behind the error of a request that had no answer. What the driver says
// around it, by which of its own requests, and by which URL, helps nobody.
func cause(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var dial *net.OpError
	if !errors.As(err, &dial) || dial.Op != "dial" {
		return err
	}
	var code syscall.Errno
	if errors.As(dial.Err, &code) {
		return code
	}
	return dial.Err
}

// authenticationFailed is ClickHouse's code for a wrong user or password.
const authenticationFailed = 516

func (c Config) advice(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		record  tls.RecordHeaderError
		refused *clickhouse.Exception
	)
	text := err.Error() // what speaks the wrong protocol has no type
	switch {
	case errors.As(err, &unknown) && c.CAFile == "":
		return "set ca_file to the authority of the server: the system does not know it"
	case errors.As(err, &unknown):
		return "ca_file holds another authority than the one that signed the server's certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the server's certificate, or set the clock right"
	case errors.As(err, &host):
		return "use the name in the server's certificate in url"
	case errors.As(err, &record), strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return "the server has no TLS on this port: use the port that has, or on this machine http:// or clickhouse://"
	case strings.Contains(text, "HTTP request to an HTTPS server"):
		return "the server wants TLS on this port: use https:// and ca_file"
	case errors.As(err, &refused) && refused.Code == authenticationFailed:
		return "check user and password_file"
	}
	return ""
}
