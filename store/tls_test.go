package store

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/deploy/certs"
)

// TestTLS reaches the engine through a server that wants TLS. Who is wrong in
// one thing is told in which, at once, and no password is told on the way. The
// engine has no native protocol, so of that only the handshake is tried.
func TestTLS(t *testing.T) {
	e := engine(t)
	target, err := url.Parse("http://" + e.Addr())
	if err != nil {
		t.Fatal(err)
	}
	ca, stranger := certs.New(t), certs.New(t)
	serve := func(c certs.Certificate) (host string) {
		proxy := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
		proxy.TLS = &tls.Config{Certificates: []tls.Certificate{c.Pair}}
		proxy.Config.ErrorLog = slog.NewLogLogger(testLog(t).Handler(), slog.LevelDebug)
		proxy.StartTLS()
		t.Cleanup(proxy.Close)
		return strings.TrimPrefix(proxy.URL, "https://")
	}
	good, expired := serve(ca.Issue(t, "clickhouse")), serve(ca.Expired(t, "clickhouse"))
	right := testConfig(e)
	right.URL, right.User, right.PasswordFile, right.CAFile = "https://"+good, "stakeout", e.PasswordFile(), ca.File

	s := open(t, right)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	storeAll(t, s.OpenEvents, eventRecord(t, 1, "a", now))
	if got := counts(t, s).Events; got != 1 {
		t.Errorf("%d events, want 1", got)
	}

	guess := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(guess, []byte("geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(e.PasswordFile())
	if err != nil {
		t.Fatal(err)
	}
	f := func(name, host, want string, change func(*Config)) {
		t.Run(name, func(t *testing.T) {
			cfg := right
			change(&cfg)
			var log bytes.Buffer
			s, err := Open(t.Context(), cfg, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(io.MultiWriter(&log, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug})))
			if err == nil {
				t.Fatal(s.Close(), "it opened")
			}
			text := err.Error()
			if !strings.Contains(text, "clickhouse at "+host+": ") || !strings.Contains(text, want) {
				t.Errorf("Open = %v, want an error that names %s and %q", err, host, want)
			}
			text += log.String()
			if strings.Contains(text, "geheim") || strings.Contains(text, strings.TrimSpace(string(password))) {
				t.Errorf("the password is shown: %s", text)
			}
		})
	}
	_, port, _ := strings.Cut(good, ":")
	f("wrong authority", good, "(ca_file holds another authority", func(c *Config) { c.CAFile = stranger.File })
	f("authority unknown to the system", good, "(set ca_file ", func(c *Config) { c.CAFile = "" })
	f("another name", "localhost:"+port, "(use the name in the server's certificate in url)", func(c *Config) { c.URL = "https://localhost:" + port })
	f("expired certificate", expired, "(renew the server's certificate", func(c *Config) { c.URL = "https://" + expired })
	f("wrong password", good, "(check user and password_file)", func(c *Config) { c.PasswordFile = guess })
	f("wrong password in the configuration", good, "(check user and password_file)", func(c *Config) { c.PasswordFile, c.Password = "", "geheim" })
	f("wrong password in the URL", good, "(check user and password_file)", func(c *Config) { c.PasswordFile, c.URL = "", "https://stakeout:geheim@"+good })
	f("wrong user", good, "(check user and password_file)", func(c *Config) { c.User = "nobody" })
	f("no password", good, "(check user and password_file)", func(c *Config) { c.PasswordFile = "" })
	f("no TLS", good, "(the server wants TLS on this port", func(c *Config) { c.URL = "http://" + good })
	f("TLS where there is none", e.Addr(), "(the server has no TLS on this port", func(c *Config) { c.URL = "https://" + e.Addr() })
	f("native: wrong authority", good, "(ca_file holds another authority", func(c *Config) { c.URL, c.CAFile = "clickhouses://"+good, stranger.File })
	f("native: expired certificate", expired, "(renew the server's certificate", func(c *Config) { c.URL = "clickhouses://" + expired })
	f("native: TLS where there is none", e.Addr(), "(the server has no TLS on this port", func(c *Config) { c.URL = "clickhouses://" + e.Addr() })
}
