package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/ingest"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage"
	"github.com/stakeout-project/stakeout/triage/command"
	"github.com/stakeout-project/stakeout/triage/executor"
)

// Config is everything that can be set, for all roles.
type Config struct {
	Log      Log                 `koanf:"log"`
	HTTP     HTTP                `koanf:"http"`
	Up       Embedded            `koanf:"up"`
	Kafka    stream.Config       `koanf:"kafka"`
	Topics   Topics              `koanf:"topics"`
	Groups   Groups              `koanf:"groups"`
	Rules    Rules               `koanf:"rules"`
	Detect   Detection           `koanf:"detect"`
	Triage   triage.Config       `koanf:"triage"`
	Store    store.Config        `koanf:"store"`
	Actions  Actions             `koanf:"actions"`
	Executor executor.Config     `koanf:"executor"`
	OAuth    OAuth               `koanf:"oauth"`
	Page     executor.PageConfig `koanf:"page"`
	Notify   Notify              `koanf:"notify"`
	Operator OperatorConfig      `koanf:"operator"`
	Canary   CanaryConfig        `koanf:"canary"`
}

// Actions says where store reads what became of actions.
type Actions struct {
	NATS  command.NATSConfig `koanf:"nats"`
	Trust command.Keyring    `koanf:"trust"` // whose outcomes are believed
}

// OAuth says where an executor revokes tokens. Without a revoke_url it revokes none.
type OAuth struct {
	Server executor.OAuthConfig `koanf:"server"`
	Vault  string               `koanf:"vault"` // directory with one file per token, named by the credential's id
}

// Log says what is logged, on standard error.
type Log struct {
	Level  slog.Level `koanf:"level"`  // debug, info, warn or error
	Format string     `koanf:"format"` // text or json
}

// HTTP says where /healthz, /readyz and /metrics are served. They hold no event
// and no credential, but are served without authentication.
type HTTP struct {
	Listen   string `koanf:"listen"`   // host:port; empty serves none
	Insecure bool   `koanf:"insecure"` // allow an address that other machines reach
}

// Embedded says what `stakeout up` starts beside the roles.
type Embedded struct {
	Dir        string `koanf:"dir"`        // data of the embedded parts
	Kafka      string `koanf:"kafka"`      // host:port of the embedded broker
	NATS       string `koanf:"nats"`       // host:port of the embedded NATS server
	ClickHouse string `koanf:"clickhouse"` // host:port of the embedded engine
}

// Rules names the files that operators write; empty stands for the shipped ones.
type Rules struct {
	Detection string `koanf:"detection"`
	Response  string `koanf:"response"`
	Peers     string `koanf:"peers"` // what is normal for peer groups, as `stakeout backtest --peers` writes it; empty: agents are held against their own past alone
}

// DefaultConfig is a pipeline on this machine.
func DefaultConfig() Config {
	return Config{
		Log:      Log{Format: "text"},
		HTTP:     HTTP{Listen: "127.0.0.1:9600"},
		Up:       Embedded{Dir: "stakeout-data", Kafka: "127.0.0.1:9092", NATS: "127.0.0.1:4222", ClickHouse: "127.0.0.1:8123"},
		Kafka:    stream.DefaultConfig(),
		Topics:   DefaultTopics(),
		Groups:   Groups{Ingest: "stakeout-ingest", Detect: "stakeout-detect", Store: "stakeout-store"},
		Detect:   Detection{MaxAgents: 250_000, MaxEntities: 100_000, Settle: 300 * time.Millisecond, Stalled: time.Minute, CheckpointProfiles: 1000, ReplayRecords: 1_000_000, ReplayAge: 30 * time.Second, HeapGrowth: 32 << 20},
		Triage:   triage.DefaultConfig(),
		Store:    store.DefaultConfig(),
		Actions:  Actions{NATS: command.DefaultNATSConfig()},
		Executor: executor.DefaultConfig(),
		OAuth:    OAuth{Server: executor.DefaultOAuthConfig()},
		Page:     executor.DefaultPageConfig(),
		Notify:   DefaultNotify(),
		Operator: OperatorConfig{NATS: command.DefaultNATSConfig()},
		Canary:   DefaultCanaryConfig(),
	}
}

// Validate names every setting that no role can use. What is left empty is
// looked at when a role runs that needs it: see [Config.ValidateRoles].
func (c Config) Validate() error {
	var errs []error
	for _, s := range c.sections() {
		for _, err := range prefixed(s.key, s.err) {
			if s.role == "" || !strings.Contains(err.Error(), ": is empty, want ") {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// ValidateRoles names every setting that one of the roles cannot use.
func (c Config) ValidateRoles(roles ...Role) error {
	var errs []error
	for _, s := range c.sections() {
		if slices.Contains(roles, s.role) {
			errs = append(errs, prefixed(s.key, s.err)...)
		}
	}
	return errors.Join(errs...)
}

// A section of the configuration, what is wrong with it, and the role that needs it.
type section struct {
	key  string
	err  error
	role Role // empty: all do
}

func (c Config) sections() []section {
	all := []section{
		{"log", c.Log.Validate(), ""}, {"http", c.HTTP.Validate(), ""}, {"up", c.Up.Validate(), ""},
		{"kafka", c.Kafka.Validate(), ""}, {"topics", c.Topics.Validate(), ""}, {"detect", c.Detect.Validate(), ""},
		{"groups", c.Groups.Validate(), ""},
		{"store", c.validateSecrets(), ""},
		{"triage", c.Triage.Validate(), Triage},
		{"store", c.Store.Validate(), Store}, {"actions.nats", c.Actions.NATS.Validate(), Store}, {"actions.trust", c.Actions.Trust.Validate(), Store},
		{"executor", c.Executor.Validate(), Executor}, {"page", c.Page.Validate(), Executor}, {"notify", c.Notify.Validate(), Executor},
		{"canary", c.Canary.Validate(), ""},
		{"operator.nats", c.Operator.NATS.Validate(), ""},
	}
	if c.OAuth.Server.RevokeURL != "" {
		all = append(all, section{"oauth.server", c.OAuth.Server.Validate(), Executor})
	}
	return all
}

// prefixed puts a section's key in front of each of its joined errors.
func prefixed(key string, err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, prefixed(key, e)...)
		}
		return errs
	}
	return []error{fmt.Errorf("%s.%w", key, err)}
}

// Validate implements the rule that a wrong setting is refused before anything starts.
func (l Log) Validate() error {
	if l.Format != "text" && l.Format != "json" {
		return fmt.Errorf("format: is %q, want text or json", l.Format)
	}
	return nil
}

// Validate refuses an address that is none, and one that others reach unless that is wanted.
func (h HTTP) Validate() error {
	if h.Listen == "" {
		return nil
	}
	if err := address("listen", h.Listen); err != nil || loopback(h.Listen) || h.Insecure {
		return err
	}
	return fmt.Errorf("listen: is %q, which other machines reach, and these pages ask for no password: want 127.0.0.1:PORT, or http.insecure: true where a network policy or firewall keeps strangers away", h.Listen)
}

// Validate names every setting that cannot be used.
func (u Embedded) Validate() error {
	var errs []error
	if u.Dir == "" {
		errs = append(errs, errors.New("dir: is empty, want a directory"))
	}
	for _, part := range []struct{ key, addr string }{{"kafka", u.Kafka}, {"nats", u.NATS}, {"clickhouse", u.ClickHouse}} {
		err := address(part.key, part.addr)
		if err == nil && !loopback(part.addr) {
			err = fmt.Errorf("%s: is %q, want an address of this machine alone, such as 127.0.0.1:0: the embedded parts have no TLS", part.key, part.addr)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) ingest() ingest.Config {
	return ingest.Config{Raw: c.Topics.Raw, Events: c.Topics.Events, Rejects: c.Topics.Rejects, Group: c.Groups.Ingest}
}

func address(key, addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("%s: is %q, want host:port", key, addr)
	}
	return nil
}

// loopback reports whether only this machine reaches an address.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
