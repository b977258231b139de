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

// SlackConfig says which channel of a chat is told.
type SlackConfig struct {
	URLFile string        `koanf:"url_file"` // file with the incoming webhook's URL, which is a secret; empty: no chat is told
	Pages   bool          `koanf:"pages"`    // tell it of pages too: a message there is enough to have reached a person
	Timeout time.Duration `koanf:"timeout"`  // of one request
}

// DefaultSlackConfig lacks the webhook.
func DefaultSlackConfig() SlackConfig { return SlackConfig{Timeout: 15 * time.Second} }

// Validate lists everything wrong with c.
func (c SlackConfig) Validate() error {
	var errs []error
	if c.URLFile == "" {
		errs = append(errs, errors.New("url_file: is empty, want the file of the incoming webhook's URL"))
	}
	if c.Timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("timeout: is %s, want 1ms or more", c.Timeout))
	}
	return errors.Join(errs...)
}

// Slack tells a channel, by the incoming webhook that Slack, Mattermost and others
// understand. A message bears no link that decides anything: whoever can see a
// channel could follow it. It names the command that an operator signs.
type Slack struct {
	kind    command.Kind
	url     string
	courier *courier
}

// NewSlack makes the actor for one of the kinds page, notify and resolve. It reads the URL.
func NewSlack(c SlackConfig, kind command.Kind) (*Slack, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	url, err := readSecret(c.URLFile)
	if err != nil {
		return nil, fmt.Errorf("url_file: %w", err)
	}
	if err := checkURL("url_file", url); err != nil {
		return nil, err
	}
	return &Slack{kind: kind, url: url, courier: newCourier("the chat", c.Timeout)}, nil
}

// Kind implements [Actor].
func (s *Slack) Kind() command.Kind { return s.kind }

// Do implements [Actor].
func (s *Slack) Do(ctx context.Context, a command.Action) (command.Status, string) {
	body, err := json.Marshal(s.message(a))
	if err != nil {
		return command.Failed, err.Error()
	}
	request := func(ctx context.Context) (*http.Request, error) {
		return post(ctx, s.url, body, "Content-Type", "application/json")
	}
	return s.courier.deliver(ctx, request, ok, nil)
}

type slackMessage struct {
	Text   string       `json:"text"` // where blocks are not shown
	Blocks []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type     string      `json:"type"`
	Text     *slackText  `json:"text,omitempty"`
	Elements []slackText `json:"elements,omitempty"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func (s *Slack) message(a command.Action) slackMessage {
	what := map[command.Kind]string{command.Page: "Page", command.Notify: "Notice", command.Resolve: "Closed"}[s.kind]
	head := clip(slackEscape(fmt.Sprintf("%s: %s", what, a.Reason)), 2900)
	m := slackMessage{Text: head, Blocks: []slackBlock{{Type: "section", Text: &slackText{"mrkdwn", head}}}}
	context := fmt.Sprintf("agent `%s` · incident `%s` · policy `%s`", code(a.Target.Agent), code(a.Incident), code(a.Policy))
	if c := a.Claim; c != nil && s.kind != command.Resolve {
		m.Blocks = append(m.Blocks, slackBlock{Type: "section", Text: &slackText{"mrkdwn",
			clip(fmt.Sprintf("*observed* %s\n*baseline* %s", slackEscape(c.Observed), slackEscape(c.Baseline)), 2900)}})
	}
	m.Blocks = append(m.Blocks, slackBlock{Type: "context", Elements: []slackText{
		{"mrkdwn", clip(context, 1900)}, {"mrkdwn", "`stakeout incident " + code(a.Incident) + "`"},
	}})
	return m
}

// slackEscape keeps what an agent chose to call itself from becoming a link or a mention.
func slackEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "*", "∗", "_", "＿", "~", "∼", "`", "ˋ").Replace(s)
}

func code(s string) string { return strings.ReplaceAll(slackEscape(clip(s, 200)), "＿", "_") }
