package executor

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// pageTo makes the actor for a receiver, with two secrets as during a rotation.
func pageTo(t *testing.T, url string, log *slog.Logger) (*Page, [][]byte) {
	t.Helper()
	keys := [][]byte{bytes.Repeat([]byte{1}, 24), bytes.Repeat([]byte{2}, 64)}
	var lines string
	for _, k := range keys {
		lines += "whsec_" + base64.StdEncoding.EncodeToString(k) + "\n"
	}
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	c := DefaultPageConfig()
	c.URL, c.SecretFile, c.Timeout = url, path, 300*time.Millisecond
	p, err := NewPage(c, log)
	if err != nil {
		t.Fatal(err)
	}
	p.webhook.courier.waits = []time.Duration{0, time.Millisecond, time.Millisecond}
	return p, keys
}

func page(a string) command.Action {
	x := action(a)
	x.Kind, x.Reason = command.Page, "the token is still active"
	return x
}

func TestPageIsSigned(t *testing.T) {
	type request struct {
		header http.Header
		body   []byte
	}
	var got []request
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = append(got, request{r.Header, body})
		if len(got) == 1 {
			w.WriteHeader(502)
		}
	}))
	t.Cleanup(s.Close)
	var log bytes.Buffer
	p, keys := pageTo(t, s.URL, slog.New(slog.NewTextHandler(&log, nil)))
	status, detail := p.Do(t.Context(), page("a1"))
	if status != command.Verified || len(got) != 2 {
		t.Fatalf("%s, %s after %d requests", status, detail, len(got))
	}
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "the token is still active") {
		t.Errorf("the log says %s", log.String())
	}
	for _, r := range got {
		id, at := r.header.Get("webhook-id"), r.header.Get("webhook-timestamp")
		if sec, err := strconv.ParseInt(at, 10, 64); err != nil || time.Since(time.Unix(sec, 0)).Abs() > time.Minute || id != "a1" {
			t.Errorf("id %q, timestamp %q", id, at)
		}
		signatures := strings.Fields(r.header.Get("webhook-signature"))
		if len(signatures) != len(keys) {
			t.Fatalf("signatures are %v", signatures)
		}
		for i, key := range keys {
			h := hmac.New(sha256.New, key)
			h.Write([]byte(id + "." + at + "." + string(r.body)))
			if want := "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil)); signatures[i] != want {
				t.Errorf("signature is %s, want %s", signatures[i], want)
			}
		}
		var e webhookEvent
		if err := json.Unmarshal(r.body, &e); err != nil || e.Type != "stakeout.page" || e.Data.Reason != "the token is still active" || e.Data.Action != "a1" {
			t.Errorf("body is %s, %v", r.body, err)
		}
	}
}

func TestPageAnswers(t *testing.T) {
	f := func(code, tries int, status command.Status) {
		t.Helper()
		n := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n++; r.URL.Path == "/elsewhere" {
				t.Error("a redirect was followed")
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
		}))
		t.Cleanup(s.Close)
		p, _ := pageTo(t, s.URL, slog.New(slog.DiscardHandler))
		if got, why := p.Do(t.Context(), page("a1")); got != status || n != tries {
			t.Errorf("%d: %s (%s) after %d tries, want %s after %d", code, got, why, n, status, tries)
		}
	}
	f(204, 1, command.Verified)
	f(307, 1, command.Failed)
	f(400, 1, command.Failed)
	f(410, 1, command.Failed)
	f(429, 3, command.Failed)
	f(500, 3, command.Failed)

	s := httptest.NewServer(nil)
	s.Close()
	p, _ := pageTo(t, s.URL, slog.New(slog.DiscardHandler))
	if got, why := p.Do(t.Context(), page("a1")); got != command.Failed || !strings.Contains(why, "refused") || strings.Contains(why, s.URL) {
		t.Errorf("nobody there: %s, %s", got, why)
	}
}

func TestPageWithoutWebhook(t *testing.T) {
	p, err := NewPage(DefaultPageConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got, why := p.Do(t.Context(), page("a1")); got != command.Verified || !strings.Contains(why, "no webhook") {
		t.Errorf("%s, %s", got, why)
	}
}

func TestPageBodyStaysSmall(t *testing.T) {
	a := page("a1")
	a.Reason = strings.Repeat("\x01", 1024)
	a.Target.Agent, a.Target.Session = strings.Repeat("\x01", 1024), strings.Repeat("\x01", 1024)
	for range 16 {
		a.Findings = append(a.Findings, strings.Repeat("f", 500))
	}
	body, err := webhookBody(a)
	if err != nil || len(body) > maxWebhook {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

func TestPageConfigRefuses(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	path := filepath.Join(t.TempDir(), "secret")
	f := func(want, secret string, mode os.FileMode, change func(*PageConfig)) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(secret), mode); err != nil {
			t.Fatal(err)
		}
		c := DefaultPageConfig()
		c.URL, c.SecretFile = "https://hook.example", path
		if change != nil {
			change(&c)
		}
		if _, err := NewPage(c, log); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
	good := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	f("url: is http to another machine", good, 0o600, func(c *PageConfig) { c.URL = "http://hook.example" })
	f("secret_file: is empty", good, 0o600, func(c *PageConfig) { c.SecretFile = "" })
	f("timeout: is 0s", good, 0o600, func(c *PageConfig) { c.Timeout = 0 })
	f("want 0600", good, 0o644, nil)
	f("is empty", "\n", 0o600, nil)
	f("something else than whsec_", "whsec_short", 0o600, nil)
	f("something else than whsec_", strings.TrimPrefix(good, "whsec_"), 0o600, nil)
}
