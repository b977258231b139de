package executor

import (
	"context"
	"fmt"
	"log/slog"
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
	if c.URL != "" {
		return WebhookConfig(c).Validate()
	}
	if c.Timeout < time.Millisecond {
		return fmt.Errorf("timeout: is %s, want 1ms or more", c.Timeout)
	}
	return nil
}

// Page wakes a person: by an error in the log, and by a [Webhook]. A page is
// verified when the receiver has taken it.
type Page struct {
	webhook *Webhook // nil: the log alone
	log     *slog.Logger
}

// NewPage makes the actor. It reads the secrets.
func NewPage(c PageConfig, log *slog.Logger) (*Page, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &Page{log: log}
	if c.URL == "" {
		return p, nil
	}
	var err error
	p.webhook, err = NewWebhook(WebhookConfig(c), command.Page)
	return p, err
}

// Kind implements [Actor].
func (p *Page) Kind() command.Kind { return command.Page }

// Do implements [Actor].
func (p *Page) Do(ctx context.Context, a command.Action) (command.Status, string) {
	p.log.Error("PAGE", "reason", a.Reason, "agent", a.Target.Agent, "incident", a.Incident, "action", a.ID, "findings", len(a.Findings))
	if p.webhook == nil {
		return command.Verified, "written to the log; no webhook is configured"
	}
	return p.webhook.Do(ctx, a)
}

// Note takes note of an action in the log, which is all there is to some kinds
// where nobody else is told: that an incident is closed, that a risk is another
// one, that a canary has come through.
type Note struct {
	kind command.Kind
	log  *slog.Logger
}

// NewNote makes the actor for one of the kinds resolve, risk_change and canary.
func NewNote(kind command.Kind, log *slog.Logger) Note { return Note{kind, log} }

// Kind implements [Actor].
func (n Note) Kind() command.Kind { return n.kind }

// Do implements [Actor].
func (n Note) Do(_ context.Context, a command.Action) (command.Status, string) {
	n.log.Info(string(n.kind), "incident", a.Incident, "agent", a.Target.Agent, "reason", a.Reason)
	return command.Verified, "written to the log"
}
