package store

import (
	"encoding/pem"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A server behind TLS is reached with the right CA and not without it.
func TestTLS(t *testing.T) {
	e := engine(t)
	target, err := url.Parse("http://" + e.Addr())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	defer proxy.Close()
	cfg := testConfig(e)
	cfg.URL, cfg.User, cfg.PasswordFile = proxy.URL, "stakeout", e.PasswordFile()
	if _, err := Open(t.Context(), cfg, nil, testLog(t)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("Open without the CA: %v, want a refusal of the certificate", err)
	}
	cfg.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cfg.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, cfg)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	storeAll(t, s.OpenEvents, eventRecord(t, 1, "a", now))
	if got := counts(t, s).Events; got != 1 {
		t.Errorf("%d events, want 1", got)
	}
}
