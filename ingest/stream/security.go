package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// TLS says how connections to the brokers are encrypted and who may answer.
type TLS struct {
	Enabled    bool   `koanf:"enabled"`
	CAFile     string `koanf:"ca_file"`     // PEM of who may sign the brokers' certificates; empty trusts the system's
	CertFile   string `koanf:"cert_file"`   // PEM of our own certificate, for brokers that ask for one
	KeyFile    string `koanf:"key_file"`    // PEM of its key
	ServerName string `koanf:"server_name"` // name the brokers' certificates must bear; empty is the host connected to
}

func (t TLS) validate() error {
	switch {
	case (t.CertFile == "") != (t.KeyFile == ""):
		return errors.New("tls.cert_file: wants tls.key_file beside it, and the other way round")
	case !t.Enabled && t != (TLS{}):
		return errors.New("tls.enabled: is false although other tls settings are given, want true")
	}
	return nil
}

func (t TLS) load() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no PEM certificate", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// SASL says who we are. The password is never part of the configuration, so
// that printing a configuration cannot leak it.
type SASL struct {
	Mechanism    string `koanf:"mechanism"` // plain, scram-sha-256 or scram-sha-512; empty is no authentication
	Username     string `koanf:"username"`
	PasswordFile string `koanf:"password_file"` // holds the password; a line end at its end does not count
	PasswordEnv  string `koanf:"password_env"`  // names the environment variable that holds the password
}

func (s SASL) validate() error {
	if s.Mechanism == "" {
		if s != (SASL{}) {
			return errors.New("sasl.mechanism: is empty although other sasl settings are given, want plain, scram-sha-256 or scram-sha-512")
		}
		return nil
	}
	var errs []error
	switch s.Mechanism {
	case "plain", "scram-sha-256", "scram-sha-512":
	default:
		errs = append(errs, fmt.Errorf("sasl.mechanism: is %q, want plain, scram-sha-256 or scram-sha-512", s.Mechanism))
	}
	if s.Username == "" {
		errs = append(errs, errors.New("sasl.username: is empty, want a name"))
	}
	if (s.PasswordFile == "") == (s.PasswordEnv == "") {
		errs = append(errs, errors.New("sasl.password_file: want either this or sasl.password_env"))
	}
	return errors.Join(errs...)
}

func (s SASL) load() (*login, error) {
	if s.Mechanism == "" {
		return nil, nil
	}
	password, err := s.password()
	if err != nil {
		return nil, err
	}
	l := &login{Mechanism: plain.Mechanism{Username: s.Username, Password: password}}
	switch s.Mechanism {
	case "scram-sha-256":
		l.Mechanism, err = scram.Mechanism(scram.SHA256, s.Username, password)
	case "scram-sha-512":
		l.Mechanism, err = scram.Mechanism(scram.SHA512, s.Username, password)
	}
	if err != nil {
		return nil, fmt.Errorf("sasl.username: %w", err)
	}
	return l, nil
}

// A login is a mechanism that remembers whether its latest attempt was
// answered: some brokers refuse by closing the connection.
type login struct {
	sasl.Mechanism
	unanswered atomic.Bool
}

// Start begins an attempt.
func (l *login) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	l.unanswered.Store(true)
	m, first, err := l.Mechanism.Start(ctx)
	return &attempt{m, l}, first, err
}

type attempt struct {
	sasl.StateMachine
	login *login
}

// Next takes the broker's answer.
func (a *attempt) Next(ctx context.Context, challenge []byte) (done bool, response []byte, err error) {
	done, response, err = a.StateMachine.Next(ctx, challenge)
	a.login.unanswered.Store(!done)
	return done, response, err
}

func (s SASL) password() (string, error) {
	if s.PasswordEnv != "" {
		p := os.Getenv(s.PasswordEnv)
		if p == "" {
			return "", fmt.Errorf("sasl.password_env: the environment variable %s is empty", s.PasswordEnv)
		}
		return p, nil
	}
	b, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("sasl.password_file: %w", err)
	}
	p := strings.TrimRight(string(b), "\r\n")
	if p == "" {
		return "", fmt.Errorf("sasl.password_file: %s is empty", s.PasswordFile)
	}
	return p, nil
}
