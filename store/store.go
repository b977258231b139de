// Package store keeps events, findings, actions, profiles and rejects in
// ClickHouse, and answers what people ask of them.
//
// Each table has one writer, which gathers rows of all partitions into batches. A
// processor's checkpoint returns when its rows are acknowledged, so a crash
// replays what was not; a replayed row replaces itself, because the tables are
// ReplacingMergeTrees over deterministic keys. While ClickHouse is away the
// writers retry and their queues fill up; then Process waits, and the partition
// is not fetched any further.
package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
)

// A Store is a connection to ClickHouse with its writers. Its methods may be
// called concurrently.
type Store struct {
	cfg     Config
	log     *slog.Logger
	conn    driver.Conn // in the database
	admin   driver.Conn // outside, for when the database is not there yet
	metrics *metrics
	refused atomic.Pointer[func(Refused)]
	leading atomic.Int64 // ownerships of the first partition of the events

	events   *writer[eventRow]
	findings *writer[findingRow]
	actions  *writer[actionRow]
	history  *writer[actionRow]
	profiles *writer[profileRow]
	rejects  *writer[rejectRow]

	queues  []queue // of all writers
	stop    context.CancelFunc
	writers sync.WaitGroup
}

// Refused is a record that is no row, or a row that ClickHouse does not take. It
// is left out, because it would hold up everything behind it for ever.
type Refused struct {
	Table     string
	Topic     string // of Kafka, or the subject of a message on NATS
	Partition int
	Offset    int64 // or the message's sequence number in its stream
	Err       error
}

// Open connects to ClickHouse and starts the writers. It tries once: whether and
// how long to try again is for the caller to say. The tables must be there
// before the first row; see [Store.Migrate].
func Open(ctx context.Context, cfg Config, reg prometheus.Registerer, log *slog.Logger) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{cfg: cfg, log: log}
	var err error
	if s.admin, err = cfg.connect(""); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if s.conn, err = cfg.connect(cfg.Database); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), s.admin.Close())
	}
	if err = s.admin.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", cfg.advise(err)), s.conn.Close(), s.admin.Close())
	}
	s.metrics = newMetrics(reg, s)
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.events = startWriter(work, s, eventsTable())
	s.findings = startWriter(work, s, findingsTable())
	s.actions = startWriter(work, s, actionsTable())
	s.history = startWriter(work, s, historyTable())
	s.profiles = startWriter(work, s, profilesTable())
	s.rejects = startWriter(work, s, rejectsTable())
	if err := s.metrics.register(); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), s.end())
	}
	return s, nil
}

// Close stops the writers and closes the connections. Rows that no checkpoint
// has waited for may be lost to ClickHouse; they are still in Kafka.
func (s *Store) Close() error {
	defer s.metrics.unregister()
	return s.end()
}

func (s *Store) end() error {
	s.stop()
	s.writers.Wait()
	return errors.Join(s.conn.Close(), s.admin.Close())
}

// OnRefused has f called for every [Refused], by whoever found it. It replaces
// an earlier f.
func (s *Store) OnRefused(f func(Refused)) { s.refused.Store(&f) }

func (s *Store) refuse(r Refused) {
	s.metrics.refused.WithLabelValues(r.Table).Inc()
	s.log.Warn("row refused", "table", r.Table, "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", r.Err)
	if f := s.refused.Load(); f != nil {
		(*f)(r)
	}
}

// Ready returns nil while rows can be stored: every writer's last batch was
// acknowledged, and ClickHouse answers.
func (s *Store) Ready() error {
	for _, q := range s.queues {
		if err := q.failing(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), pingTime)
	defer cancel()
	if err := s.conn.Ping(ctx); err != nil {
		return fmt.Errorf("ping: %w", s.cfg.advise(err))
	}
	return nil
}

const (
	pingTime = 3 * time.Second
	dialTime = 5 * time.Second
)

// connect makes a pool of connections; none is opened yet.
func (c Config) connect(database string) (driver.Conn, error) {
	a, err := parse(c.URL)
	if err != nil {
		return nil, err
	}
	password, err := c.password(a)
	if err != nil {
		return nil, err
	}
	user := a.user
	if user == "" {
		user = c.User
	}
	opt := &clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{a.host}, HttpUrlPath: a.path,
		Auth:        clickhouse.Auth{Database: database, Username: user, Password: password},
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionLZ4},
		DialTimeout: dialTime, ReadTimeout: c.Timeout,
		MaxOpenConns: 16, MaxIdleConns: 8, ConnMaxLifetime: 10 * time.Minute,
	}
	if a.native {
		opt.Protocol = clickhouse.Native
	}
	if a.tls {
		if opt.TLS, err = c.tls(a); err != nil {
			return nil, err
		}
	}
	return clickhouse.Open(opt)
}

func (c Config) tls(a address) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(a.host)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no certificate", c.CAFile)
	}
	return t, nil
}
