package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// PagerDutyConfig says which service of PagerDuty pages go to.
type PagerDutyConfig struct {
	URL            string        `koanf:"url"`              // of the Events API v2
	RoutingKeyFile string        `koanf:"routing_key_file"` // file with the integration key; empty: PagerDuty is not used
	Timeout        time.Duration `koanf:"timeout"`          // of one request
}

// DefaultPagerDutyConfig lacks the routing key.
func DefaultPagerDutyConfig() PagerDutyConfig {
	return PagerDutyConfig{URL: "https://events.pagerduty.com/v2/enqueue", Timeout: 15 * time.Second}
}

// Validate lists everything wrong with c.
func (c PagerDutyConfig) Validate() error {
	errs := []error{checkURL("url", c.URL)}
	if c.RoutingKeyFile == "" {
		errs = append(errs, errors.New("routing_key_file: is empty, want the file of the integration key"))
	}
	if c.Timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("timeout: is %s, want 1ms or more", c.Timeout))
	}
	return errors.Join(errs...)
}

// PagerDuty pages by the Events API v2, or resolves what it paged. The incident
// is the deduplication key: all pages of one incident are one alert, however
// often a command is repeated.
type PagerDuty struct {
	cfg     PagerDutyConfig
	kind    command.Kind
	key     string
	courier *courier
}

// NewPagerDuty makes the actor for one of the kinds page and resolve. It reads the routing key.
func NewPagerDuty(c PagerDutyConfig, kind command.Kind) (*PagerDuty, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	key, err := readSecret(c.RoutingKeyFile)
	if err != nil {
		return nil, fmt.Errorf("routing_key_file: %w", err)
	}
	if len(key) != 32 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("routing_key_file: %s holds %d bytes, want an integration key of 32 characters", c.RoutingKeyFile, len(key))
	}
	return &PagerDuty{cfg: c, kind: kind, key: key, courier: newCourier("PagerDuty", c.Timeout)}, nil
}

// Kind implements [Actor].
func (p *PagerDuty) Kind() command.Kind { return p.kind }

// Do implements [Actor].
func (p *PagerDuty) Do(ctx context.Context, a command.Action) (command.Status, string) {
	body, err := json.Marshal(p.event(a))
	if err != nil {
		return command.Failed, err.Error()
	}
	request := func(ctx context.Context) (*http.Request, error) {
		return post(ctx, p.cfg.URL, body, "Content-Type", "application/json")
	}
	taken := func(r reply) bool { return r.status == http.StatusAccepted }
	return p.courier.deliver(ctx, request, taken, func(r reply) string {
		var e struct{ Message string }
		if json.Unmarshal(r.body, &e) != nil || strings.Contains(e.Message, p.key) {
			return ""
		}
		return shorten(e.Message)
	})
}

type pagerDutyEvent struct {
	RoutingKey string            `json:"routing_key"`
	Action     string            `json:"event_action"`
	DedupKey   string            `json:"dedup_key"`
	Client     string            `json:"client,omitempty"`
	Payload    *pagerDutyPayload `json:"payload,omitempty"`
}

type pagerDutyPayload struct {
	Summary   string         `json:"summary"`
	Source    string         `json:"source"`
	Severity  string         `json:"severity"`
	Timestamp time.Time      `json:"timestamp"`
	Component string         `json:"component,omitempty"`
	Group     string         `json:"group,omitempty"`
	Class     string         `json:"class,omitempty"`
	Details   map[string]any `json:"custom_details,omitempty"`
}

// event is the page of an action. Acknowledging and resolving take the key alone.
func (p *PagerDuty) event(a command.Action) pagerDutyEvent {
	e := pagerDutyEvent{RoutingKey: p.key, Action: "trigger", DedupKey: a.Incident}
	if p.kind == command.Resolve {
		e.Action = "resolve"
		return e
	}
	e.Client = "Stakeout"
	e.Payload = &pagerDutyPayload{
		Summary: clip(a.Reason, 1024), Source: clip(a.Target.Agent, 1024), Severity: pagerDutySeverity(a.Severity), Timestamp: a.Decided.Time(),
		Details: map[string]any{"incident": a.Incident, "action": a.ID, "policy": a.Policy, "findings": a.Findings, "session": a.Target.Session},
	}
	if c := a.Claim; c != nil {
		e.Payload.Class, e.Payload.Component, e.Payload.Group = c.Threat, c.Detector, c.Tenant
		e.Payload.Details["observed"], e.Payload.Details["baseline"] = c.Observed, c.Baseline
	}
	return e
}

// pagerDutySeverity maps OCSF's severities.
func pagerDutySeverity(s int) string {
	switch {
	case s >= 5:
		return "critical"
	case s == 4:
		return "error"
	case s == 3:
		return "warning"
	case s == 0: // nobody told: better too loud
		return "error"
	}
	return "info"
}

// clip shortens s to at most n characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
