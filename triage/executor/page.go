package executor

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// PageConfig says where pages go besides the log.
type PageConfig struct {
	URL        string        `koanf:"url"`         // of a Standard Webhooks receiver; empty: pages go to the log only
	SecretFile string        `koanf:"secret_file"` // one whsec_ secret per line: the new and the old one while it is replaced
	Timeout    time.Duration `koanf:"timeout"`     // of one request
}

// DefaultPageConfig writes pages to the log.
func DefaultPageConfig() PageConfig { return PageConfig{Timeout: 15 * time.Second} }

// Validate lists everything wrong with c.
func (c PageConfig) Validate() error {
	var errs []error
	if c.URL != "" {
		errs = append(errs, checkURL("url", c.URL))
		if c.SecretFile == "" {
			errs = append(errs, errors.New("secret_file: is empty, want the file of the secret that pages are signed with"))
		}
	}
	if c.Timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("timeout: is %s, want 1ms or more", c.Timeout))
	}
	return errors.Join(errs...)
}

// Page wakes a person: by an error in the log, and by a webhook as Standard
// Webhooks 1.0.0 signs it. A page is verified when the receiver has taken it.
type Page struct {
	cfg    PageConfig
	keys   [][]byte
	client *http.Client
	log    *slog.Logger
	waits  []time.Duration // before each try
}

// NewPage makes the actor. It reads the secrets.
func NewPage(c PageConfig, log *slog.Logger) (*Page, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &Page{cfg: c, client: newClient(c.Timeout), log: log,
		waits: []time.Duration{0, time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second}}
	if c.URL == "" {
		return p, nil
	}
	secrets, err := readSecret(c.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("secret_file: %w", err)
	}
	for line := range strings.FieldsSeq(secrets) {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "whsec_"))
		if err != nil || !strings.HasPrefix(line, "whsec_") || len(key) < 24 || len(key) > 64 {
			return nil, fmt.Errorf("secret_file: %s holds something else than whsec_ and base64 of 24 to 64 bytes", c.SecretFile)
		}
		p.keys = append(p.keys, key)
	}
	return p, nil
}

// Kind implements [Actor].
func (p *Page) Kind() command.Kind { return command.Page }

// Do implements [Actor].
func (p *Page) Do(ctx context.Context, a command.Action) (command.Status, string) {
	p.log.Error("PAGE", "reason", a.Reason, "agent", a.Target.Agent, "incident", a.Incident, "action", a.ID, "findings", len(a.Findings))
	if p.cfg.URL == "" {
		return command.Verified, "written to the log; no webhook is configured"
	}
	body, err := p.body(a)
	if err != nil {
		return command.Failed, err.Error()
	}
	why := ""
	for _, wait := range p.waits {
		if !pause(ctx, wait) {
			break
		}
		status, err := p.post(ctx, a.ID, body)
		switch {
		case err != nil:
			why = "the receiver gave no answer: " + reason(err)
		case status >= 200 && status < 300:
			return command.Verified, fmt.Sprintf("the receiver answered %d", status)
		case status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500:
			why = fmt.Sprintf("the receiver answered %d", status)
		default:
			return command.Failed, fmt.Sprintf("the receiver answered %d", status)
		}
	}
	return command.Failed, why
}

// pageEvent is the body of the webhook.
type pageEvent struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      pageData  `json:"data"`
}

type pageData struct {
	Action   string         `json:"action"`
	Incident string         `json:"incident"`
	Reason   string         `json:"reason"`
	Policy   string         `json:"policy"`
	Target   command.Target `json:"target"`
	Findings []string       `json:"findings"`
	Occurred time.Time      `json:"occurred"`
}

// maxPage keeps the body below what receivers must take.
const maxPage = 20_000

func (p *Page) body(a command.Action) ([]byte, error) {
	e := pageEvent{Type: "stakeout.page", Timestamp: a.Decided.Time(), Data: pageData{
		Action: a.ID, Incident: a.Incident, Reason: a.Reason, Policy: a.Policy,
		Target: a.Target, Findings: a.Findings, Occurred: a.Occurred.Time(),
	}}
	body, err := json.Marshal(e)
	if err == nil && len(body) > maxPage { // the incident has them all
		e.Data.Findings = nil
		e.Data.Target = command.Target{Agent: a.Target.Agent}
		body, err = json.Marshal(e)
	}
	return body, err
}

// post sends the page once. The id stays the same over all tries, the timestamp is that of the try.
func (p *Page) post(ctx context.Context, id string, body []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", at)
	req.Header.Set("webhook-signature", sign(p.keys, id, at, body))
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err
	}
	if _, err := drain(resp); err != nil && !errors.Is(err, errOversized) {
		return 0, err
	}
	return resp.StatusCode, nil
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
