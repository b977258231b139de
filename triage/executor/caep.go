package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// CAEPConfig says who is told of ended sessions and risen risk, and as whom we speak.
type CAEPConfig struct {
	URL       string        `koanf:"url"`        // of a receiver of pushed security event tokens (RFC 8935); empty: nobody is told
	Audience  string        `koanf:"audience"`   // of the receiver, as it calls itself
	Issuer    string        `koanf:"issuer"`     // we, as the receiver knows us
	KeyFile   string        `koanf:"key_file"`   // PEM of the RSA key that tokens are signed with
	KeyID     string        `koanf:"key_id"`     // kid of it
	TokenFile string        `koanf:"token_file"` // file of the bearer token that the receiver gave us; empty: none
	Events    []string      `koanf:"events"`     // session-revoked, risk-level-change
	Timeout   time.Duration `koanf:"timeout"`    // of one request
}

// The events of CAEP 1.0 that we send.
const (
	sessionRevoked  = "session-revoked"
	riskLevelChange = "risk-level-change"
	caepBase        = "https://schemas.openid.net/secevent/caep/event-type/"
)

// DefaultCAEPConfig lacks the receiver.
func DefaultCAEPConfig() CAEPConfig {
	return CAEPConfig{Events: []string{sessionRevoked, riskLevelChange}, Timeout: 15 * time.Second}
}

// Validate lists everything wrong with c.
func (c CAEPConfig) Validate() error {
	errs := []error{checkURL("url", c.URL)}
	for _, v := range []struct{ key, value, want string }{
		{"audience", c.Audience, "the receiver's name for itself"}, {"issuer", c.Issuer, "our name as the receiver knows it"},
		{"key_file", c.KeyFile, "the PEM file of an RSA key"},
	} {
		if v.value == "" {
			errs = append(errs, fmt.Errorf("%s: is empty, want %s", v.key, v.want))
		}
	}
	if len(c.Events) == 0 {
		errs = append(errs, errors.New("events: is empty, want session-revoked, risk-level-change or both"))
	}
	for i, e := range c.Events {
		if e != sessionRevoked && e != riskLevelChange || slices.Contains(c.Events[:i], e) {
			errs = append(errs, fmt.Errorf("events[%d]: is %.40q, want session-revoked and risk-level-change, each once", i, e))
		}
	}
	if c.Timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("timeout: is %s, want 1ms or more", c.Timeout))
	}
	return errors.Join(errs...)
}

// TellsRisk reports whether a receiver is told of changes of risk.
func (c CAEPConfig) TellsRisk() bool {
	return c.URL != "" && slices.Contains(c.Events, riskLevelChange)
}

// CAEP tells a receiver of shared signals that a session is over and that the
// risk is high, each as a security event token that is pushed. The receiver
// accepts by 202 and acts by itself: that it was told is all that is verified.
type CAEP struct {
	kind    command.Kind
	cfg     CAEPConfig
	signer  *setSigner
	token   string
	courier *courier
	now     func() time.Time
}

// NewCAEP makes the actor for one of the kinds signal and risk_change. It reads key and token.
func NewCAEP(c CAEPConfig, kind command.Kind) (*CAEP, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	signer, err := readSETSigner(c.KeyFile, c.KeyID)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	p := &CAEP{kind: kind, cfg: c, signer: signer, courier: newCourier("the receiver of shared signals", c.Timeout), now: time.Now}
	if c.TokenFile != "" {
		if p.token, err = readSecret(c.TokenFile); err != nil {
			return nil, fmt.Errorf("token_file: %w", err)
		}
	}
	return p, nil
}

// Kind implements [Actor].
func (p *CAEP) Kind() command.Kind { return p.kind }

// Do implements [Actor].
func (p *CAEP) Do(ctx context.Context, a command.Action) (command.Status, string) {
	var told []string
	events := p.cfg.Events
	if p.kind == command.RiskChange {
		events = []string{riskLevelChange}
	}
	for _, e := range events {
		body, err := p.signer.sign(p.event(a, e))
		if err != nil {
			return command.Failed, err.Error()
		}
		headers := []string{"Content-Type", "application/secevent+jwt", "Accept", "application/json"}
		if p.token != "" {
			headers = append(headers, "Authorization", "Bearer "+p.token)
		}
		request := func(ctx context.Context) (*http.Request, error) { return post(ctx, p.cfg.URL, body, headers...) }
		taken := func(r reply) bool { return r.status == http.StatusAccepted }
		if status, why := p.courier.deliver(ctx, request, taken, setRefusal); status != command.Verified {
			return status, e + ": " + why
		}
		told = append(told, e)
	}
	return command.Verified, "the receiver accepted " + strings.Join(told, " and ") + "; what it did then is its own"
}

// setRefusal quotes the error codes of RFC 8935 and no others.
func setRefusal(r reply) string {
	var e struct {
		Err string `json:"err"`
	}
	if json.Unmarshal(r.body, &e) != nil {
		return ""
	}
	switch e.Err {
	case "invalid_request", "invalid_key", "invalid_issuer", "invalid_audience", "authentication_failed", "access_denied":
		return e.Err
	}
	return ""
}

// event is the token of one event. Its id is the same however often it is sent.
func (p *CAEP) event(a command.Action, name string) set {
	subject, principal := subjectOf(a.Target)
	body := map[string]any{
		"event_timestamp": a.Decided.Time().Unix(), "initiating_entity": "policy",
		"reason_admin": map[string]string{"en": clip(a.Reason, 1000)},
	}
	if name == riskLevelChange {
		body["principal"], body["current_level"], body["risk_reason"] = principal, "HIGH", "UNUSUAL_ACTIVITY"
		if a.Kind == command.RiskChange && a.Risk != nil {
			body["current_level"], body["previous_level"] = strings.ToUpper(string(a.Risk.Level)), strings.ToUpper(string(a.Risk.Previous))
		}
		if a.Claim != nil && a.Claim.Threat != "" {
			body["risk_reason"] = strings.ToUpper(strings.ReplaceAll(a.Claim.Threat, "-", "_"))
		}
	}
	return set{Issuer: p.cfg.Issuer, ID: a.ID + "." + name, IssuedAt: p.now().Unix(), Audience: p.cfg.Audience, Cause: a.Incident,
		Subject: subject, Events: map[string]any{caepBase + name: body}}
}

// subjectOf names the target as RFC 9493 and shared signals do, as narrowly as
// it is known: the token, the subject of the token, the session, the agent.
func subjectOf(t command.Target) (subject map[string]any, principal string) {
	switch {
	case t.Credential != "" && t.Issuer != "":
		return map[string]any{"format": "jwt_id", "iss": t.Issuer, "jti": t.Credential}, "SESSION"
	case t.Subject != "" && t.Issuer != "":
		return map[string]any{"format": "iss_sub", "iss": t.Issuer, "sub": t.Subject}, "USER"
	case t.Session != "":
		return map[string]any{"format": "complex", "session": map[string]any{"format": "opaque", "id": t.Session},
			"user": map[string]any{"format": "opaque", "id": t.Agent}}, "SESSION"
	}
	return map[string]any{"format": "opaque", "id": t.Agent}, "USER"
}
