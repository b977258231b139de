package executor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/triage/command"
)

const token = "s3cret-token"

// oauthAt makes the actor for a server, with one token in its vault.
func oauthAt(t *testing.T, url string, change func(*OAuthConfig)) *OAuth {
	t.Helper()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	vault := filepath.Join(dir, "vault")
	for _, err := range []error{
		os.WriteFile(secret, []byte("p:ss wörd\n"), 0o600),
		os.Mkdir(vault, 0o700),
		os.WriteFile(filepath.Join(vault, command.Token("jti/1")), []byte(token+"\n"), 0o600),
		os.WriteFile(filepath.Join(vault, "open"), []byte(token), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := DefaultOAuthConfig()
	c.RevokeURL, c.IntrospectURL, c.ClientID, c.SecretFile = url+"/revoke", url+"/introspect", "stake out", secret
	c.Settle, c.Timeout = 0, 300*time.Millisecond
	if change != nil {
		change(&c)
	}
	o, err := NewOAuth(c, DirVault(vault))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func revocation(credential string) command.Action {
	a := action("a1")
	a.Target.Credential = credential
	return a
}

// do carries the revocation out and holds that no word about it contains the token.
func do(t *testing.T, o *OAuth, within time.Duration, credential string) (command.Status, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	status, detail := o.Do(ctx, revocation(credential))
	if strings.Contains(detail, token) {
		t.Errorf("the answer holds the token: %s", detail)
	}
	return status, detail
}

func TestOAuthAgainstTheIdentityProvider(t *testing.T) {
	c := local.DefaultIDPConfig()
	c.ClientID, c.Secret = "stake out", "p:ss wörd"
	idp, err := local.StartIDP(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := idp.Close(); err != nil {
			t.Error(err)
		}
	})
	o := oauthAt(t, idp.URL(), nil)
	raw := idp.Issue("jti/1")
	if err := os.WriteFile(filepath.Join(string(o.vault.(DirVault)), command.Token("jti/1")), []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(mode local.IDPMode, status command.Status, detail string) {
		t.Helper()
		idp.SetMode(mode)
		got, why := do(t, o, 500*time.Millisecond, "jti/1")
		if got != status || !strings.Contains(why, detail) {
			t.Errorf("%s: %s, %q; want %s, %q", mode, got, why, status, detail)
		}
		if strings.Contains(why, raw) {
			t.Error("the answer holds the token")
		}
	}
	f(local.Lies, command.Unverified, "answered 200 but still reports the token active")
	f(local.Unavailable, command.Failed, "token still valid")
	f(local.Honest, command.Verified, "inactive")
	f(local.Lies, command.Verified, "inactive") // it is gone already
	if idp.Active(raw) {
		t.Error("the token is still active")
	}
}

func TestOAuthAgainstOddServers(t *testing.T) {
	type handler = http.HandlerFunc
	body := func(status int, text string) handler {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, text)
		}
	}
	ok := body(200, "")
	active, inactive := body(200, `{"active":true,"token":"`+token+`"}`), body(200, `{"active":false}`)
	slow := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(2 * time.Second):
		}
	}
	f := func(name string, revoke, introspect handler, status command.Status, detail string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			mux.HandleFunc("POST /revoke", func(w http.ResponseWriter, r *http.Request) {
				if r.FormValue("token") != token || r.FormValue("token_type_hint") != "access_token" {
					t.Errorf("form is %v", r.Form)
				}
				revoke(w, r)
			})
			mux.HandleFunc("POST /introspect", introspect)
			mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") })
			s := httptest.NewServer(mux)
			t.Cleanup(s.Close)
			got, why := do(t, oauthAt(t, s.URL, nil), 5*time.Second, "jti/1")
			if got != status || !strings.Contains(why, detail) {
				t.Errorf("%s, %q; want %s, %q", got, why, status, detail)
			}
		})
	}
	f("as it should be", ok, inactive, command.Verified, "inactive")
	f("liar", ok, active, command.Unverified, "still reports the token active")
	f("introspection down", ok, body(500, ""), command.Unverified, "the introspection endpoint answered 500")
	f("introspection not ours", ok, body(401, ""), command.Unverified, "answered 401")
	f("introspection malformed", ok, body(200, `{"active":"no"}`), command.Unverified, "malformed")
	f("introspection without active", ok, body(200, `{}`), command.Unverified, "malformed")
	f("introspection not JSON", ok, body(200, `<html>`), command.Unverified, "malformed")
	f("introspection oversized", ok, body(200, `{"active":false,"x":"`+strings.Repeat("x", maxBody)+`"}`), command.Unverified, "too large")
	f("introspection silent", ok, slow, command.Unverified, "did not answer in time")
	f("introspection elsewhere", ok, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}, command.Unverified, "answered 307")
	f("unsupported type", body(400, `{"error":"unsupported_token_type"}`), active, command.Failed, "unsupported_token_type")
	f("unsupported type, yet gone", body(400, `{"error":"unsupported_token_type"}`), inactive, command.Verified, "although")
	f("client refused", body(401, `{"error":"invalid_client"}`), body(401, ""), command.Failed, "did not accept our client credentials")
	f("error echoes the token", body(400, `{"error":"`+token+`"}`), active, command.Failed, "answered 400")
	f("revocation elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}, active, command.Failed, "redirects are not followed")
	f("revocation silent", slow, active, command.Failed, "did not answer in time")
	f("revocation silent, yet gone", slow, inactive, command.Verified, "although")
	var tries atomic.Int32
	f("away twice", func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) < 3 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(503)
		}
	}, inactive, command.Verified, "inactive")
	f("away for longer than the command lives", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(503)
	}, active, command.Failed, "token still valid: the revocation endpoint answered 503")
}

func TestOAuthWaitsForTheRevocationToShow(t *testing.T) {
	var asked atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/revoke", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/introspect", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"active":%t}`, asked.Add(1) < 3)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	o := oauthAt(t, s.URL, func(c *OAuthConfig) { c.Settle = 5 * time.Second })
	if got, why := do(t, o, 10*time.Second, "jti/1"); got != command.Verified {
		t.Errorf("%s, %s", got, why)
	}
}

func TestOAuthWithoutToken(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the server was asked") }))
	t.Cleanup(s.Close)
	o := oauthAt(t, s.URL, func(c *OAuthConfig) { c.Issuer = "https://idp.example" })
	f := func(credential, issuer, detail string) {
		t.Helper()
		a := revocation(credential)
		a.Target.Issuer = issuer
		got, why := o.Do(t.Context(), a)
		if got != command.Failed || !strings.Contains(why, detail) {
			t.Errorf("%s, %q; want failed, %q", got, why, detail)
		}
	}
	f("unknown", "", ErrNoToken.Error())
	f("../secret", "", ErrNoToken.Error())
	f(strings.Repeat("x", 5000), "", ErrNoToken.Error())
	f("open", "", "want 0600")
	f("jti/1", "https://other.example", "issued by somebody else")
}

func TestOAuthConfigValidate(t *testing.T) {
	f := func(want string, change func(*OAuthConfig)) {
		t.Helper()
		c := DefaultOAuthConfig()
		c.RevokeURL, c.IntrospectURL, c.ClientID, c.SecretFile = "https://idp.example/r", "http://127.0.0.1:1/i", "c", "s"
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
	f("revoke_url: is http to another machine", func(c *OAuthConfig) { c.RevokeURL = "http://idp.example/r" })
	f("revoke_url: has the scheme", func(c *OAuthConfig) { c.RevokeURL = "ftp://idp.example/r" })
	f("introspect_url: is not a plain URL", func(c *OAuthConfig) { c.IntrospectURL = "" })
	f("introspect_url: is not a plain URL", func(c *OAuthConfig) { c.IntrospectURL = "https://me:pw@idp.example" })
	f("client_id: ", func(c *OAuthConfig) { c.ClientID = "" })
	f("secret_file: ", func(c *OAuthConfig) { c.SecretFile = "" })
	f("timeout: ", func(c *OAuthConfig) { c.Timeout = 0 })
	f("settle: ", func(c *OAuthConfig) { c.Settle = -1 })
}

func FuzzReadActive(f *testing.F) {
	for _, s := range []string{`{"active":true}`, `{"active":false}`, `{}`, `null`, `[]`, `{"active":null}`, `{"active":false}{`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if active, err := readActive(body); err != nil && !active {
			t.Errorf("%q tells nothing, and yet the token is inactive", body)
		}
		if why := refusal(400, body); len(why) > 100 {
			t.Errorf("the answer quotes the server: %s", why)
		}
	})
}
