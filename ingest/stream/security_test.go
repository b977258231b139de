package stream

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/stakeout-project/stakeout/deploy/certs"
	"github.com/stakeout-project/stakeout/deploy/kafka"
)

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
	ca, stranger := certs.New(t), certs.New(t)
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Issue(t, "broker").Pair}, ClientCAs: ca.Pool, ClientAuth: tls.RequireAndVerifyClientCert}),
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

	ours := ca.Issue(t, "stakeout")
	good := func(c *Config) {
		c.TLS = TLS{Enabled: true, CAFile: ca.File, CertFile: ours.CertFile, KeyFile: ours.KeyFile}
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

	const ask = "(the broker does not know the user "
	refusing := func(name, want string, change func(*Config)) {
		t.Run(name, func(t *testing.T) { lockedOut(t, addr, want, good, change) })
	}
	refusing("wrong authority", "certificate signed by unknown authority", func(c *Config) { c.TLS.CAFile = stranger.File })
	refusing("authority unknown to the system", "(set tls.ca_file ", func(c *Config) { c.TLS.CAFile = "" })
	refusing("wrong name", "certificate is valid for broker, not kafka.example", func(c *Config) { c.TLS.ServerName = "kafka.example" })
	refusing("no certificate of ours", "(the broker wants a certificate of ours: set tls.cert_file", func(c *Config) { c.TLS.CertFile, c.TLS.KeyFile = "", "" })
	theirs, expired := stranger.Issue(t, "stakeout"), ca.Expired(t, "stakeout")
	refusing("certificate of ours by a stranger", "(the broker does not accept tls.cert_file)", func(c *Config) { c.TLS.CertFile, c.TLS.KeyFile = theirs.CertFile, theirs.KeyFile })
	refusing("certificate of ours expired", "(the broker does not accept tls.cert_file)", func(c *Config) { c.TLS.CertFile, c.TLS.KeyFile = expired.CertFile, expired.KeyFile })
	refusing("wrong password", ask, func(c *Config) { c.SASL.PasswordFile = writePassword(t, "secret guess") })
	refusing("wrong user", ask+`"nobody"`, func(c *Config) { c.SASL.Username = "nobody" })
	refusing("user of another mechanism", ask, func(c *Config) { c.SASL.Mechanism = "scram-sha-512" })
	refusing("no password", "it may want no TLS, or authentication: sasl.mechanism is empty", func(c *Config) { c.SASL = SASL{} })
	refusing("no TLS", "it may want TLS: tls.enabled is false", func(c *Config) { c.TLS, c.SASL = TLS{}, SASL{} })

	old, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Expired(t, "broker").Pair}}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(old.Close)
	t.Run("expired certificate", func(t *testing.T) {
		lockedOut(t, old.ListenAddrs()[0], "(renew the broker's certificate", good)
	})
}

// lockedOut holds that a broker does not let us in, that whoever asks hears why
// within seconds, and that no password is told on the way.
func lockedOut(t *testing.T, addr, want string, change ...func(*Config)) {
	t.Parallel() // some wait for what will not come
	cfg := testConfig(addr)
	for _, f := range change {
		f(&cfg)
	}
	var log bytes.Buffer
	c, err := Open(cfg, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(io.MultiWriter(&log, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	told := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "kafka at "+addr+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s = %v, want an error that names %s and %q", what, err, addr, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s shows the password: %v", what, err)
		}
	}
	_, err = c.Offsets(ctx, "topic")
	told("Offsets", err)
	if ctx.Err() == nil { // nothing that waiting mends: who runs ends
		told("Run", c.Run(ctx, Group{Name: "g", Topics: []string{"topic"}}, newLedger().open))
		told("Ready", c.Ready())
	} else if !strings.Contains(log.String(), want) {
		t.Errorf("retried for six seconds, but the log does not say %q", want)
	}
	if strings.Contains(log.String(), "secret") {
		t.Error("the log shows the password")
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
	ca, stranger := certs.New(t), certs.New(t)
	b := startReal(t, kafka.Options{
		Users:     map[string]string{"stakeout": "secret"},
		Settings:  map[string]string{"sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256"},
		KeyStores: map[string]string{"valid": ca.Issue(t, "broker").BothFile, "expired": ca.Expired(t, "broker").BothFile},
	})
	login := func(mechanism, user, password string) func(*Config) {
		return func(c *Config) {
			c.SASL = SASL{Mechanism: mechanism, Username: user, PasswordFile: writePassword(t, password)}
		}
	}
	encrypted := func(c *Config) { c.TLS = TLS{Enabled: true, CAFile: ca.File} }
	works := func(name, addr string, change ...func(*Config)) {
		t.Run(name, func(t *testing.T) {
			c := testClient(t, addr, change...)
			topic := testTopic(t, c, 1, nil)
			produceNumbers(t, testProducer(t, c), topic, 1, 0, 10)
			l := newLedger()
			stop := running(t, c, topic, l)
			eventually(t, "all is processed", func() bool { return l.count() == 10 })
			stop()
			l.check(t)
		})
	}
	works("plain", b.SASLAddr(), login("plain", "stakeout", "secret"))
	works("scram-sha-256", b.SASLAddr(), login("scram-sha-256", "stakeout", "secret"))
	good := login("scram-sha-512", "stakeout", "secret")
	works("TLS and scram-sha-512", b.TLSAddr("valid"), encrypted, good)

	refusing := func(name, addr, want string, change ...func(*Config)) {
		t.Run(name, func(t *testing.T) { lockedOut(t, addr, want, append([]func(*Config){encrypted, good}, change...)...) })
	}
	const ask = "(the broker does not know the user "
	plain := func(c *Config) { c.TLS = TLS{} }
	refusing("wrong password without TLS", b.SASLAddr(), ask, plain, login("plain", "stakeout", "secret guess"))
	refusing("mechanism that is not offered", b.SASLAddr(), "(the broker does not offer scram-sha-512", plain)
	refusing("wrong authority", b.TLSAddr("valid"), "(tls.ca_file holds another authority", func(c *Config) { c.TLS.CAFile = stranger.File })
	refusing("wrong name", b.TLSAddr("valid"), "certificate is valid for broker, not kafka.example", func(c *Config) { c.TLS.ServerName = "kafka.example" })
	refusing("expired certificate", b.TLSAddr("expired"), "(renew the broker's certificate")
	refusing("wrong user", b.TLSAddr("valid"), ask+`"nobody"`, login("scram-sha-512", "nobody", "secret"))
	refusing("wrong password", b.TLSAddr("valid"), ask, login("scram-sha-512", "stakeout", "secret guess"))
	refusing("no TLS", b.TLSAddr("valid"), "it may want TLS: tls.enabled is false", plain, func(c *Config) { c.SASL = SASL{} })
	refusing("TLS where there is none", b.Addr(), "it may want no TLS")
	refusing("a password where there is none", b.Addr(), "(the broker wants no authentication on this port", plain)
}
