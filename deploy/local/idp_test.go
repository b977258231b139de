package local

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestIDP(t *testing.T) {
	p, err := StartIDP(DefaultIDPConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	post := func(path, secret, token string) (int, map[string]any) {
		t.Helper()
		req, err := http.NewRequest("POST", p.URL()+path, strings.NewReader(url.Values{"token": {token}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(p.ClientID(), secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body map[string]any
		if resp.ContentLength > 0 {
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
		}
		return resp.StatusCode, body
	}
	token := p.Issue("jti-1")
	if status, body := post("/introspect", p.Secret(), token); status != 200 || body["active"] != true || body["jti"] != "jti-1" {
		t.Errorf("a fresh token: %d %v", status, body)
	}
	if status, body := post("/revoke", "wrong", token); status != 401 || body["error"] != "invalid_client" || !p.Active(token) {
		t.Errorf("a stranger revokes: %d %v", status, body)
	}
	if status, body := post("/revoke", p.Secret(), ""); status != 400 || body["error"] != "invalid_request" {
		t.Errorf("no token: %d %v", status, body)
	}
	if status, _ := post("/revoke", p.Secret(), "unknown"); status != 200 {
		t.Errorf("an unknown token: %d, want 200 as the standard says", status)
	}
	p.SetMode(Lies)
	if status, _ := post("/revoke", p.Secret(), token); status != 200 || !p.Active(token) {
		t.Errorf("lies: %d, active %t", status, p.Active(token))
	}
	p.SetMode(Unavailable)
	if status, _ := post("/revoke", p.Secret(), token); status != 503 || !p.Active(token) {
		t.Errorf("unavailable: %d, active %t", status, p.Active(token))
	}
	p.SetMode(Honest)
	if status, _ := post("/revoke", p.Secret(), token); status != 200 || p.Active(token) {
		t.Errorf("honest: %d, active %t", status, p.Active(token))
	}
	if status, body := post("/introspect", p.Secret(), token); status != 200 || body["active"] != false || len(body) != 1 {
		t.Errorf("a revoked token: %d %v", status, body)
	}
}
