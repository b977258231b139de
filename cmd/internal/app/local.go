package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/store/chdb"
	"github.com/stakeout-project/stakeout/triage/command"
)

// Local is the embedded parts of `stakeout up`: those for which the
// configuration names no server elsewhere.
type Local struct {
	Kafka  *local.Kafka
	NATS   *local.NATS
	Engine *chdb.Engine
	dir    string
	lock   *os.File
}

// EngineCommand is the hidden subcommand that runs the ClickHouse engine in a process of its own.
const EngineCommand = "clickhouse-engine"

// StartLocal starts the embedded parts, and returns the configuration with their
// addresses and keys filled in. A part is embedded where the configuration
// leaves its address at the default.
func StartLocal(ctx context.Context, cfg Config, log *slog.Logger) (_ *Local, _ Config, err error) {
	l := &Local{dir: cfg.Up.Dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.lock, err = local.Lock(cfg.Up.Dir); err != nil {
		advice := "set up.dir to a directory that can be made and written"
		if errors.Is(err, syscall.EWOULDBLOCK) {
			advice = "stop the 'stakeout up' that uses it, or set up.dir to another one"
		}
		return nil, cfg, fmt.Errorf("%w; %s", err, advice)
	}
	usual := DefaultConfig()
	// Whoever names a server by the default address cannot be told from who names none.
	embeds := func(part, key, addr, elsewhere string) {
		log.Info("part is embedded, not looked for elsewhere", "part", part, "because", key+" is the default", "addr", addr, "for_a_server_there_write", elsewhere)
	}
	if cfg.Store.URL == usual.Store.URL {
		if err := l.startEngine(ctx, &cfg, log); err != nil {
			return nil, cfg, err
		}
		embeds("clickhouse", "store.url", l.Engine.Addr(), "http://localhost:8123")
	}
	cfg.Triage.History.Enabled = true // the store is beside it
	if slices.Equal(cfg.Kafka.Brokers, usual.Kafka.Brokers) {
		kafka := local.DefaultKafkaConfig()
		kafka.Dir, kafka.Listen = filepath.Join(cfg.Up.Dir, "kafka"), cfg.Up.Kafka
		if l.Kafka, err = local.StartKafka(kafka, log); err != nil {
			return nil, cfg, err
		}
		cfg.Kafka.Brokers = []string{l.Kafka.Addr()}
		embeds("kafka", "kafka.brokers", l.Kafka.Addr(), "localhost:9092")
	}
	if cfg.Triage.NATS.URL == usual.Triage.NATS.URL {
		if l.NATS, err = local.StartNATS(local.NATSConfig{Dir: filepath.Join(cfg.Up.Dir, "nats"), Listen: cfg.Up.NATS}, log); err != nil {
			return nil, cfg, err
		}
		embeds("nats", "triage.nats.url", l.NATS.URL(), "nats://localhost:4222")
		as := func(r local.NATSRole) command.NATSConfig {
			return command.NATSConfig{URL: l.NATS.URL(), SeedFile: l.NATS.SeedFile(r), InboxPrefix: l.NATS.InboxPrefix(r)}
		}
		trust := command.Keyring{Triage: []string{l.NATS.SigningKey(local.TriageRole)}, Executors: []string{l.NATS.SigningKey(local.ExecutorRole)},
			Operators: []string{l.NATS.SigningKey(local.OperatorRole)}}
		cfg.Triage.NATS, cfg.Triage.SigningKey, cfg.Triage.Trust = as(local.TriageRole), l.NATS.SigningFile(local.TriageRole), trust
		cfg.Actions = Actions{NATS: as(local.StoreRole), Trust: trust}
		cfg.Executor.NATS, cfg.Executor.SigningKey, cfg.Executor.Trust = as(local.ExecutorRole), l.NATS.SigningFile(local.ExecutorRole), trust
		cfg.Operator = OperatorConfig{NATS: as(local.OperatorRole), SigningKey: l.NATS.SigningFile(local.OperatorRole)}
	}
	if err := l.announce(cfg); err != nil {
		return nil, cfg, err
	}
	return l, cfg, nil
}

func (l *Local) startEngine(ctx context.Context, cfg *Config, log *slog.Logger) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find our own binary: %w", err)
	}
	listen := cfg.Up.ClickHouse
	if listen == DefaultConfig().Up.ClickHouse {
		listen = "" // the usual port, or a free one where that is taken
	}
	l.Engine, err = chdb.Start(ctx, chdb.Options{Dir: filepath.Join(cfg.Up.Dir, "clickhouse"), Args: []string{exe, EngineCommand}, Listen: listen, Log: log})
	if err != nil {
		return err
	}
	cfg.Store.URL, cfg.Store.User, cfg.Store.PasswordFile = "http://"+l.Engine.Addr(), "stakeout", l.Engine.PasswordFile()
	return nil
}

// Close stops the parts, the one started last first.
func (l *Local) Close() error {
	var errs []error
	if l.NATS != nil {
		l.NATS.Close()
	}
	if l.Kafka != nil {
		errs = append(errs, l.Kafka.Close())
	}
	if l.Engine != nil {
		errs = append(errs, l.Engine.Close())
	}
	if l.lock == nil { // the directory is somebody else's
		return errors.Join(errs...)
	}
	if err := os.Remove(filepath.Join(l.dir, addressFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	errs = append(errs, l.lock.Close())
	return errors.Join(errs...)
}

// addressFile tells other commands started in the same place where the embedded
// parts of a running `stakeout up` are.
const addressFile = "running.json"

type addresses struct {
	Brokers      []string        `json:"brokers"`
	ClickHouse   string          `json:"clickhouse"`
	User         string          `json:"user"`
	PasswordFile string          `json:"password_file"`
	HTTP         string          `json:"http"` // health and metrics
	Operator     operator        `json:"operator"`
	Trust        command.Keyring `json:"trust"` // whose outcomes are believed
}

// operator adds what a response policy must list among the approvers of a step
// so that this operator's decisions count.
type operator struct {
	OperatorConfig
	Approver string `json:"approver,omitempty"`
}

func (l *Local) announce(cfg Config) error {
	op := operator{OperatorConfig: cfg.Operator}
	if l.NATS != nil {
		op.Approver = l.NATS.SigningKey(local.OperatorRole)
	}
	b, err := json.MarshalIndent(addresses{cfg.Kafka.Brokers, withoutPassword(cfg.Store.URL), cfg.Store.User, cfg.Store.PasswordFile, cfg.HTTP.Listen, op, cfg.Actions.Trust}, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", addressFile, err)
	}
	// Who reads the file while it is written finds the old one, or the new one whole.
	path := filepath.Join(l.dir, addressFile)
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// withoutPassword is a URL without the password that it may hold: who asks a
// store elsewhere brings their own.
func withoutPassword(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return raw
	}
	u.User = url.User(u.User.Username())
	return u.String()
}

// Attached returns cfg with the addresses of the `stakeout up` that runs over the
// same directory, where there is one and cfg names no other server.
func Attached(cfg Config) (Config, error) {
	b, err := os.ReadFile(filepath.Join(cfg.Up.Dir, addressFile))
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, nil
	}
	if err != nil {
		return cfg, err
	}
	var a addresses
	if err := json.Unmarshal(b, &a); err != nil {
		return cfg, fmt.Errorf("read %s: %w", addressFile, err)
	}
	usual := DefaultConfig()
	if slices.Equal(cfg.Kafka.Brokers, usual.Kafka.Brokers) {
		cfg.Kafka.Brokers = a.Brokers
	}
	if cfg.Store.URL == usual.Store.URL {
		cfg.Store.URL, cfg.Store.User, cfg.Store.PasswordFile = a.ClickHouse, a.User, a.PasswordFile
	}
	if len(cfg.Actions.Trust.Triage) == 0 {
		cfg.Actions.Trust = a.Trust
	}
	if cfg.Operator.NATS.URL == usual.Operator.NATS.URL {
		own := cfg.Operator.SigningKey // who names a key decides as its owner
		cfg.Operator = a.Operator.OperatorConfig
		cfg.Operator.SigningKey = cmp.Or(own, cfg.Operator.SigningKey)
	}
	return cfg, nil
}
