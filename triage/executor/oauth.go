package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// OAuthConfig says which authorization server tokens are revoked at.
type OAuthConfig struct {
	RevokeURL     string        `koanf:"revoke_url"`     // RFC 7009
	IntrospectURL string        `koanf:"introspect_url"` // RFC 7662
	ClientID      string        `koanf:"client_id"`      // of us as a client of the server
	SecretFile    string        `koanf:"secret_file"`    // its secret, for client_secret_basic
	Issuer        string        `koanf:"issuer"`         // whose tokens these are; empty: whatever issuer a finding names
	Timeout       time.Duration `koanf:"timeout"`        // of one request
	Settle        time.Duration `koanf:"settle"`         // how long a revocation may take to show
}

// DefaultOAuthConfig lacks the server.
func DefaultOAuthConfig() OAuthConfig {
	return OAuthConfig{Timeout: 10 * time.Second, Settle: 2 * time.Second}
}

// Validate lists everything wrong with c.
func (c OAuthConfig) Validate() error {
	errs := []error{checkURL("revoke_url", c.RevokeURL), checkURL("introspect_url", c.IntrospectURL)}
	if c.ClientID == "" {
		errs = append(errs, errors.New("client_id: is empty, want our id at the server"))
	}
	if c.SecretFile == "" {
		errs = append(errs, errors.New("secret_file: is empty, want the file of our secret at the server"))
	}
	if c.Timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("timeout: is %s, want 1ms or more", c.Timeout))
	}
	if c.Settle < 0 {
		errs = append(errs, fmt.Errorf("settle: is %s, want 0s or more", c.Settle))
	}
	return errors.Join(errs...)
}

// OAuth revokes tokens by RFC 7009 and then looks by RFC 7662 whether they are
// gone. The second step is the point: by the standard, 200 is also the answer
// for a token the server does not know.
type OAuth struct {
	cfg    OAuthConfig
	vault  Vault
	secret string
	client *http.Client
}

// NewOAuth makes the actor. It reads the secret.
func NewOAuth(c OAuthConfig, v Vault) (*OAuth, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	secret, err := readSecret(c.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("secret_file: %w", err)
	}
	return &OAuth{cfg: c, vault: v, secret: secret, client: newClient(c.Timeout)}, nil
}

// Kind implements [Actor].
func (o *OAuth) Kind() command.Kind { return command.RevokeToken }

// Do implements [Actor].
func (o *OAuth) Do(ctx context.Context, a command.Action) (command.Status, string) {
	if o.cfg.Issuer != "" && a.Target.Issuer != "" && a.Target.Issuer != o.cfg.Issuer {
		return command.Failed, "the credential was issued by somebody else"
	}
	token, err := o.vault.Token(ctx, a.Target.Credential)
	if err != nil {
		return command.Failed, err.Error()
	}
	revoked, why := o.revoke(ctx, token)
	active, err := o.introspect(ctx, token, revoked)
	switch {
	case err == nil && !active && revoked:
		return command.Verified, "the server reports the token inactive"
	case err == nil && !active:
		return command.Verified, "the server reports the token inactive, although the revocation ended otherwise: " + why
	case !revoked:
		return command.Failed, "token still valid: " + why
	case err != nil:
		return command.Unverified, "the server answered 200, but introspection did not tell whether the token is gone: " + err.Error()
	}
	return command.Unverified, "the server answered 200 but still reports the token active"
}

// revoke asks for the revocation until the server has decided. It reports
// whether the server said yes, and else why not.
func (o *OAuth) revoke(ctx context.Context, token string) (bool, string) {
	for try := 1; ; try++ {
		resp, body, err := o.post(ctx, o.cfg.RevokeURL, token)
		var wait time.Duration
		var why string
		switch {
		case err != nil:
			why, wait = "the revocation endpoint gave no answer: "+reason(err), 200*time.Millisecond<<min(try, 8)
			if try == 4 {
				return false, why
			}
		case resp.StatusCode == http.StatusOK:
			return true, ""
		case resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusTooManyRequests:
			why = fmt.Sprintf("the revocation endpoint answered %d until the command expired", resp.StatusCode)
			wait = max(retryAfter(resp.Header, time.Now(), 200*time.Millisecond<<min(try, 8)), 100*time.Millisecond)
		default:
			return false, refusal(resp.StatusCode, body)
		}
		if !pause(ctx, wait) {
			return false, why
		}
	}
}

// refusal says what an answer means that is neither yes nor later. Only the
// error codes of the standards are quoted: anything else could hold the token.
func refusal(status int, body []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		e.Error = ""
	}
	switch {
	case e.Error == "unsupported_token_type":
		return "the server does not revoke tokens of this type (unsupported_token_type)"
	case status == http.StatusUnauthorized || e.Error == "invalid_client":
		return "the server did not accept our client credentials"
	case status >= 300 && status < 400:
		return fmt.Sprintf("the revocation endpoint answered %d, and redirects are not followed", status)
	case e.Error == "invalid_request" || e.Error == "unauthorized_client" || e.Error == "invalid_grant":
		return fmt.Sprintf("the revocation endpoint answered %d (%s)", status, e.Error)
	}
	return fmt.Sprintf("the revocation endpoint answered %d", status)
}

// introspect reports whether the token is active. After a revocation it looks
// again for as long as the revocation may take to show.
func (o *OAuth) introspect(ctx context.Context, token string, revoked bool) (active bool, err error) {
	end := time.Now()
	if revoked {
		end = end.Add(o.cfg.Settle)
	}
	for try := 1; ; try++ {
		wait := 100 * time.Millisecond << min(try, 4)
		resp, body, err := o.post(ctx, o.cfg.IntrospectURL, token)
		switch {
		case err != nil:
			active, err = true, errors.New("the introspection endpoint gave no answer: "+reason(err))
		case resp.StatusCode != http.StatusOK:
			active, err = true, fmt.Errorf("the introspection endpoint answered %d", resp.StatusCode)
			if later := retryAfter(resp.Header, time.Now(), 0); later > 0 && revoked {
				wait, end = later, time.Now().Add(later)
			}
		default:
			active, err = readActive(body)
		}
		if err == nil && !active {
			return false, nil
		}
		if time.Now().Add(wait).After(end.Add(time.Millisecond)) || !pause(ctx, wait) {
			return active, err
		}
	}
}

// readActive reads an introspection response. One without the member "active" tells nothing.
func readActive(body []byte) (bool, error) {
	var v struct {
		Active *bool `json:"active"`
	}
	if err := json.Unmarshal(body, &v); err != nil || v.Active == nil {
		return true, errors.New("the introspection endpoint's answer is malformed")
	}
	return *v.Active, nil
}

// post sends the token to one of the endpoints, as RFC 6749 section 2.3.1 has a client identify itself.
func (o *OAuth) post(ctx context.Context, endpoint, token string) (*http.Response, []byte, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(o.cfg.ClientID), url.QueryEscape(o.secret))
	resp, err := o.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	body, err := drain(resp)
	return resp, body, err
}
