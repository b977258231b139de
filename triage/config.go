package triage

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// Config says where triage works and as whom.
type Config struct {
	NATS       command.NATSConfig `koanf:"nats"`
	SigningKey string             `koanf:"signing_key"` // file with the seed (SA...) that commands are signed with
	Trust      command.Keyring    `koanf:"trust"`       // whose answers and approvals are believed
	Group      string             `koanf:"group"`       // Kafka consumer group that reads the findings

	// IncidentGap is the event time without a finding after which the next
	// finding of the same agent and session begins a new incident.
	IncidentGap time.Duration `koanf:"incident_gap"`

	// LinkGap is the same for a finding that only a tool or a principal links
	// with an incident about another agent: many have those.
	LinkGap time.Duration `koanf:"link_gap"`

	// BreachSlack is how long after a verified stop, by its own clock, an agent's
	// event is not yet taken for activity after containment.
	BreachSlack time.Duration `koanf:"breach_slack"`

	// RiskSignals has subscribers of shared signals told when the level of an
	// agent's risk changes. It is set where notify.caep names a receiver.
	RiskSignals bool `koanf:"risk_signals"`

	History HistoryConfig `koanf:"history"` // what the first look at a finding asks of what is stored

	Draft DraftConfig `koanf:"draft"` // a model that writes for people and decides nothing

	Tick      time.Duration `koanf:"tick"`      // how often timers are looked at
	Timeout   time.Duration `koanf:"timeout"`   // of one request to NATS
	Replicas  int           `koanf:"replicas"`  // of streams and buckets, for a NATS cluster
	Retention time.Duration `koanf:"retention"` // of commands, answers and state; longer than the findings topic keeps its records
}

// DefaultConfig works against a NATS server on this machine. It lacks the keys.
func DefaultConfig() Config {
	return Config{
		NATS:        command.DefaultNATSConfig(),
		Group:       "stakeout-triage",
		IncidentGap: 24 * time.Hour,
		LinkGap:     time.Hour,
		BreachSlack: 10 * time.Second,
		History:     DefaultHistoryConfig(),
		Draft:       DefaultDraftConfig(),
		Tick:        time.Second,
		Timeout:     5 * time.Second,
		Replicas:    1,
		Retention:   90 * 24 * time.Hour,
	}
}

// Validate lists everything wrong with c.
func (c Config) Validate() error {
	var errs []error
	nested := func(key string, err error) {
		if err == nil {
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			errs = append(errs, fmt.Errorf("%s.%s", key, line))
		}
	}
	nested("nats", c.NATS.Validate())
	if c.SigningKey == "" {
		errs = append(errs, errors.New("signing_key: is empty, want the file of the seed that commands are signed with"))
	}
	nested("trust", c.Trust.Validate())
	if c.Group == "" {
		errs = append(errs, errors.New("group: is empty, want a name"))
	}
	least := func(key string, d, least time.Duration) {
		if d < least {
			errs = append(errs, fmt.Errorf("%s: is %s, want %s or more", key, d, least))
		}
	}
	least("incident_gap", c.IncidentGap, time.Minute)
	least("link_gap", c.LinkGap, time.Second)
	least("breach_slack", c.BreachSlack, 0)
	least("tick", c.Tick, time.Millisecond)
	least("timeout", c.Timeout, 10*time.Millisecond)
	least("retention", c.Retention, time.Hour)
	nested("history", c.History.Validate())
	nested("draft", c.Draft.Validate())
	if c.Replicas < 1 || c.Replicas > 5 {
		errs = append(errs, fmt.Errorf("replicas: is %d, want 1 to 5", c.Replicas))
	}
	return errors.Join(errs...)
}
