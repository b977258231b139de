package app

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/stakeout-project/stakeout/triage/command"
	"github.com/stakeout-project/stakeout/triage/executor"
)

// Notify says whom an executor tells. A part that names no receiver tells none.
type Notify struct {
	PagerDuty executor.PagerDutyConfig `koanf:"pagerduty"` // pages, and resolves them
	Webhook   executor.WebhookConfig   `koanf:"webhook"`   // notices and closed incidents, to a SOAR
	Slack     executor.SlackConfig     `koanf:"slack"`     // notices and closed incidents, to a chat
	OCSF      executor.OCSFConfig      `koanf:"ocsf"`      // notices, to a SIEM
	CAEP      executor.CAEPConfig      `koanf:"caep"`      // signals and changes of risk, to a receiver of shared signals
	Tickets   executor.WebhookConfig   `koanf:"tickets"`   // tickets
	Memory    executor.WebhookConfig   `koanf:"memory"`    // memory records to quarantine; it must answer {"status":"quarantined"}
}

// DefaultNotify tells nobody.
func DefaultNotify() Notify {
	return Notify{PagerDuty: executor.DefaultPagerDutyConfig(), Webhook: executor.DefaultWebhookConfig(), Slack: executor.DefaultSlackConfig(),
		OCSF: executor.DefaultOCSFConfig(), CAEP: executor.DefaultCAEPConfig(), Tickets: executor.DefaultWebhookConfig(), Memory: executor.DefaultWebhookConfig()}
}

// parts lists what is configured: whether it is used, whether it can be, and the
// actors it is made into.
func (n Notify) parts() []notifier {
	return []notifier{
		{"pagerduty", n.PagerDuty.RoutingKeyFile != "", n.PagerDuty.Validate, actors(n.PagerDuty, executor.NewPagerDuty, command.Page, command.Resolve)},
		{"webhook", n.Webhook.URL != "", n.Webhook.Validate, actors(n.Webhook, executor.NewWebhook, command.Notify, command.Resolve)},
		{"slack", n.Slack.URLFile != "", n.Slack.Validate, actors(n.Slack, executor.NewSlack, slackKinds(n.Slack)...)},
		{"ocsf", n.OCSF.Path != "" || n.OCSF.Syslog != "", n.OCSF.Validate, actors(n.OCSF, func(c executor.OCSFConfig, _ command.Kind) (*executor.OCSF, error) { return executor.NewOCSF(c) }, command.Notify)},
		{"caep", n.CAEP.URL != "", n.CAEP.Validate, actors(n.CAEP, executor.NewCAEP, caepKinds(n.CAEP)...)},
		{"tickets", n.Tickets.URL != "", n.Tickets.Validate, actors(n.Tickets, executor.NewWebhook, command.Ticket)},
		{"memory", n.Memory.URL != "", n.Memory.Validate, actors(n.Memory, executor.NewWebhook, command.QuarantineMemory)},
	}
}

func caepKinds(c executor.CAEPConfig) []command.Kind {
	kinds := []command.Kind{command.Signal}
	if c.TellsRisk() {
		kinds = append(kinds, command.RiskChange)
	}
	return kinds
}

func slackKinds(c executor.SlackConfig) []command.Kind {
	kinds := []command.Kind{command.Notify, command.Resolve}
	if c.Pages {
		kinds = append(kinds, command.Page)
	}
	return kinds
}

type notifier struct {
	key      string
	used     bool
	validate func() error
	make     func() ([]executor.Actor, error)
}

// actors makes one actor per kind out of a configuration.
func actors[C any, A executor.Actor](cfg C, make func(C, command.Kind) (A, error), kinds ...command.Kind) func() ([]executor.Actor, error) {
	return func() ([]executor.Actor, error) {
		var all []executor.Actor
		for _, k := range kinds {
			a, err := make(cfg, k)
			if err != nil {
				return nil, err
			}
			all = append(all, a)
		}
		return all, nil
	}
}

// Validate names every setting of a part in use that cannot be used.
func (n Notify) Validate() error {
	var errs []error
	for _, part := range n.parts() {
		if part.used {
			errs = append(errs, prefixed(part.key, part.validate())...)
		}
	}
	return errors.Join(errs...)
}

// notifiers makes one actor per kind: who pages, who is told, who is signalled,
// who takes a page back, and who answers a canary. Where nobody else is paged, pages go to the log.
func (c Config) notifiers(log *slog.Logger) ([]executor.Actor, error) {
	kinds := map[command.Kind][]executor.Actor{}
	for _, k := range []command.Kind{command.Resolve, command.RiskChange, command.Canary} {
		kinds[k] = []executor.Actor{executor.NewNote(k, log)}
	}
	for _, part := range c.Notify.parts() {
		if !part.used {
			continue
		}
		made, err := part.make()
		if err != nil {
			return nil, fmt.Errorf("notify.%s.%w", part.key, err)
		}
		for _, a := range made {
			kinds[a.Kind()] = append(kinds[a.Kind()], a)
		}
	}
	if c.Page.URL != "" || len(kinds[command.Page]) == 0 {
		page, err := executor.NewPage(c.Page, log)
		if err != nil {
			return nil, fmt.Errorf("page.%w", err)
		}
		kinds[command.Page] = append(kinds[command.Page], page)
	}
	var all []executor.Actor
	for _, k := range command.DefaultLayout().Kinds {
		if len(kinds[k]) > 0 {
			all = append(all, executor.Several(kinds[k]...))
		}
	}
	return all, nil
}
