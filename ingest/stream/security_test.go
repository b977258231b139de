package stream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/stakeout-project/stakeout/deploy/kafka"
)

// An authority signs certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue writes a certificate and its key to files.
func (a *authority) issue(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if name == "broker" {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", private)
	return certFile, keyFile
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func writePassword(t *testing.T, password string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestSecureBroker meets a broker that wants TLS with certificates of both
// sides, and a password.
func TestSecureBroker(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	brokerCert, brokerKey := ca.issue(t, "broker")
	pair, err := tls.LoadX509KeyPair(brokerCert, brokerKey)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}),
		kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "stakeout", "plain secret"),
		kfake.Superuser("SCRAM-SHA-256", "stakeout", "secret 256"),
		kfake.Superuser("SCRAM-SHA-512", "other", "secret 512"),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	addr := cluster.ListenAddrs()[0]

	ourCert, ourKey := ca.issue(t, "stakeout")
	good := func(c *Config) {
		c.TLS = TLS{Enabled: true, CAFile: ca.file, CertFile: ourCert, KeyFile: ourKey}
		c.SASL = SASL{Mechanism: "scram-sha-256", Username: "stakeout", PasswordFile: writePassword(t, "secret 256\n")}
	}
	for mechanism, change := range map[string]func(*Config){
		"scram-sha-256": func(*Config) {},
		"scram-sha-512": func(c *Config) {
			c.SASL.Mechanism, c.SASL.Username, c.SASL.PasswordFile = "scram-sha-512", "other", writePassword(t, "secret 512")
		},
		"plain": func(c *Config) {
			c.SASL.Mechanism, c.SASL.PasswordFile = "plain", writePassword(t, "plain secret\r\n")
		},
		"server name": func(c *Config) { c.TLS.ServerName = "broker" },
	} {
		t.Run(mechanism, func(t *testing.T) {
			c := testClient(t, addr, good, change)
			topic := testTopic(t, c, 1, nil)
			produceNumbers(t, testProducer(t, c), topic, 1, 0, 10)
			l := newLedger()
			stop := running(t, c, topic, l)
			eventually(t, "all is processed", func() bool { return l.count() == 10 })
			stop()
			l.check(t)
			if err := c.Ready(); err != nil {
				t.Errorf("Ready: %v", err)
			}
		})
	}

	refused := func(name, want string, change func(*Config)) {
		t.Run(name, func(t *testing.T) {
			c := testClient(t, addr, good, change)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := c.Offsets(ctx, "topic")
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Offsets = %v, want an error that contains %q", err, want)
			}
			if err := c.Run(ctx, Group{Name: "g", Topics: []string{"topic"}}, newLedger().open); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Run = %v, want an error that contains %q", err, want)
			}
			if err := c.Ready(); err == nil {
				t.Error("Ready is nil")
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
	refused("wrong authority", "certificate signed by unknown authority", func(c *Config) { c.TLS.CAFile = stranger.file })
	refused("wrong name", "certificate is valid for broker, not kafka.example", func(c *Config) { c.TLS.ServerName = "kafka.example" })
	refused("no certificate of ours", "certificate required", func(c *Config) { c.TLS.CertFile, c.TLS.KeyFile = "", "" })
	refused("wrong password", "SASL Authentication Failed", func(c *Config) { c.SASL.PasswordFile = writePassword(t, "secret guess") })
	refused("wrong user", "SASL Authentication Failed", func(c *Config) { c.SASL.Username = "nobody" })
	refused("user of another mechanism", "SASL Authentication Failed", func(c *Config) { c.SASL.Mechanism = "scram-sha-512" })

	c := testClient(t, addr, good, func(c *Config) { c.SASL = SASL{} })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Offsets(ctx, "topic"); err == nil || !strings.Contains(err.Error(), "may want other tls or sasl settings") {
		t.Errorf("without a password: %v, want a hint at the settings", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := DefaultConfig()
		change(&cfg)
		if _, err := Open(cfg, prometheus.NewRegistry(), testLog(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open = %v, want an error that contains %q", err, want)
		}
	}
	empty := writePassword(t, "\n")
	f("brokers: is empty", func(c *Config) { c.Brokers = nil })
	f("tls.ca_file: open /nowhere", func(c *Config) { c.TLS = TLS{Enabled: true, CAFile: "/nowhere"} })
	f("holds no PEM certificate", func(c *Config) { c.TLS = TLS{Enabled: true, CAFile: empty} })
	f("tls.cert_file: open /nowhere", func(c *Config) { c.TLS = TLS{Enabled: true, CertFile: "/nowhere", KeyFile: "/nowhere"} })
	f("sasl.password_file: open /nowhere", func(c *Config) {
		c.SASL = SASL{Mechanism: "plain", Username: "u", PasswordFile: "/nowhere"}
	})
	f("is empty", func(c *Config) { c.SASL = SASL{Mechanism: "plain", Username: "u", PasswordFile: empty} })
	f("the environment variable STREAM_TEST_UNSET is empty", func(c *Config) {
		c.SASL = SASL{Mechanism: "plain", Username: "u", PasswordEnv: "STREAM_TEST_UNSET"}
	})
}

// TestRealAuthentication meets Apache Kafka, which says why it refuses.
func TestRealAuthentication(t *testing.T) {
	b := startReal(t, kafka.Options{
		Users:    map[string]string{"stakeout": "secret"},
		Settings: map[string]string{"sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256"},
	})
	with := func(mechanism, user, password string) *Client {
		return testClient(t, b.SASLAddr(), func(c *Config) {
			c.SASL = SASL{Mechanism: mechanism, Username: user, PasswordFile: writePassword(t, password)}
		})
	}
	for _, mechanism := range []string{"plain", "scram-sha-256"} {
		t.Run(mechanism, func(t *testing.T) {
			c := with(mechanism, "stakeout", "secret")
			topic := testTopic(t, c, 1, nil)
			produceNumbers(t, testProducer(t, c), topic, 1, 0, 10)
			l := newLedger()
			stop := running(t, c, topic, l)
			eventually(t, "all is processed", func() bool { return l.count() == 10 })
			stop()
			if _, err := with(mechanism, "stakeout", "guess").Offsets(testContext(t), topic); !errors.Is(err, kafkago.SASLAuthenticationFailed) {
				t.Errorf("wrong password: %v, want %v", err, kafkago.SASLAuthenticationFailed)
			}
		})
	}
	_, err := with("scram-sha-512", "stakeout", "secret").Offsets(testContext(t), "topic")
	if !errors.Is(err, kafkago.UnsupportedSASLMechanism) {
		t.Errorf("mechanism that the broker does not offer: %v, want %v", err, kafkago.UnsupportedSASLMechanism)
	}
}
