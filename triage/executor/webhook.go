package executor

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// WebhookConfig says which receiver of Standard Webhooks, such as a SOAR, is told.
type WebhookConfig struct {
	URL        string        `koanf:"url"`         // empty: none is told
	SecretFile string        `koanf:"secret_file"` // one whsec_ secret per line: the new and the old one while it is replaced
	Timeout    time.Duration `koanf:"timeout"`     // of one request
}

// DefaultWebhookConfig lacks the receiver.
func DefaultWebhookConfig() WebhookConfig { return WebhookConfig{Timeout: 15 * time.Second} }

// Validate lists everything wrong with c.
func (c WebhookConfig) Validate() error {
	errs := []error{checkURL("url", c.URL)}
	if c.SecretFile == "" {
		errs = append(errs, errors.New("secret_file: is empty, want the file of the secret that messages are signed with"))
	}
	if c.Timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("timeout: is %s, want 1ms or more", c.Timeout))
	}
	return errors.Join(errs...)
}

// Webhook tells a receiver of an action, signed as Standard Webhooks 1.0.0 says.
// The type of its message is "stakeout." and the kind. The action's id is that of
// the message too, by which a receiver knows one that comes again.
type Webhook struct {
	kind    command.Kind
	url     string
	keys    [][]byte
	done    string // that the receiver has to say for it to be verified; empty: that it took the message is enough
	courier *courier
}

// NewWebhook makes the actor for one of the kinds notify, page, ticket, resolve
// and quarantine_memory. It reads the secrets.
func NewWebhook(c WebhookConfig, kind command.Kind) (*Webhook, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	keys, err := readWebhookKeys(c.SecretFile)
	if err != nil {
		return nil, err
	}
	w := &Webhook{kind: kind, url: c.URL, keys: keys, courier: newCourier("the receiver", c.Timeout)}
	if kind == command.QuarantineMemory {
		w.done = "quarantined"
	}
	return w, nil
}

// readWebhookKeys reads the secrets of a receiver.
func readWebhookKeys(file string) (keys [][]byte, err error) {
	secrets, err := readSecret(file)
	if err != nil {
		return nil, fmt.Errorf("secret_file: %w", err)
	}
	for line := range strings.FieldsSeq(secrets) {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "whsec_"))
		if err != nil || !strings.HasPrefix(line, "whsec_") || len(key) < 24 || len(key) > 64 {
			return nil, fmt.Errorf("secret_file: %s holds something else than whsec_ and base64 of 24 to 64 bytes", file)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Kind implements [Actor].
func (w *Webhook) Kind() command.Kind { return w.kind }

// Do implements [Actor].
func (w *Webhook) Do(ctx context.Context, a command.Action) (command.Status, string) {
	body, err := webhookBody(a)
	if err != nil {
		return command.Failed, err.Error()
	}
	request := func(ctx context.Context) (*http.Request, error) { // the timestamp is that of the try
		at := strconv.FormatInt(time.Now().Unix(), 10)
		return post(ctx, w.url, body, "Content-Type", "application/json",
			"webhook-id", a.ID, "webhook-timestamp", at, "webhook-signature", sign(w.keys, a.ID, at, body))
	}
	var answer []byte
	taken := func(r reply) bool {
		answer = r.body
		return ok(r)
	}
	status, why := w.courier.deliver(ctx, request, taken, nil)
	if status != command.Verified || w.done == "" {
		return status, why
	}
	var said struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(answer, &said); err != nil || said.Status != w.done {
		return command.Unverified, fmt.Sprintf(`%s, but did not say {"status":%q}`, why, w.done)
	}
	return command.Verified, fmt.Sprintf(`%s and said that it is %s`, why, w.done)
}

// webhookEvent is the body of the webhook.
type webhookEvent struct {
	Type      string      `json:"type"`
	Timestamp time.Time   `json:"timestamp"`
	Data      webhookData `json:"data"`
}

type webhookData struct {
	Action   string         `json:"action"`
	Incident string         `json:"incident"`
	Reason   string         `json:"reason"`
	Policy   string         `json:"policy"`
	Severity int            `json:"severity_id,omitempty"`
	Target   command.Target `json:"target"`
	Findings []string       `json:"findings"`
	Claim    *command.Claim `json:"claim,omitempty"`
	Occurred time.Time      `json:"occurred"`
}

// maxWebhook keeps the body below what receivers must take.
const maxWebhook = 20_000

func webhookBody(a command.Action) ([]byte, error) {
	e := webhookEvent{Type: "stakeout." + string(a.Kind), Timestamp: a.Decided.Time(), Data: webhookData{
		Action: a.ID, Incident: a.Incident, Reason: a.Reason, Policy: a.Policy, Severity: a.Severity,
		Target: a.Target, Findings: a.Findings, Claim: a.Claim, Occurred: a.Occurred.Time(),
	}}
	body, err := json.Marshal(e)
	if err == nil && len(body) > maxWebhook { // the incident has them all
		e.Data.Findings, e.Data.Claim = nil, nil
		e.Data.Target = command.Target{Agent: a.Target.Agent, Memory: a.Target.Memory}
		body, err = json.Marshal(e)
	}
	return body, err
}

// sign makes the signature header: one v1 signature per key.
func sign(keys [][]byte, id, at string, body []byte) string {
	var all []string
	for _, key := range keys {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(id + "." + at + "."))
		h.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(all, " ")
}
