package stream

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// Config says how to reach Kafka and how to read and write it.
type Config struct {
	Brokers  []string `koanf:"brokers"`   // host:port of one or more brokers; the others are learned from them
	ClientID string   `koanf:"client_id"` // names us in the brokers' logs and quotas

	TLS  TLS  `koanf:"tls"`
	SASL SASL `koanf:"sasl"`

	// Insecure permits brokers that are not on this machine without TLS.
	// Whoever sits on the path can then read and forge everything.
	Insecure bool `koanf:"insecure"`

	// ReplicationFactor of topics we make; -1 is the broker's default.
	ReplicationFactor int `koanf:"replication_factor"`

	SessionTimeout    time.Duration `koanf:"session_timeout"`    // a member that is silent for longer loses its partitions
	HeartbeatInterval time.Duration `koanf:"heartbeat_interval"` // also how soon a member notices a rebalance
	RebalanceTimeout  time.Duration `koanf:"rebalance_timeout"`  // half of it is for the last checkpoint of a partition that moves

	FetchMaxBytes int           `koanf:"fetch_max_bytes"` // of one partition at once, compressed; a larger batch is still read
	FetchMaxWait  time.Duration `koanf:"fetch_max_wait"`  // of the broker for a first record

	CheckpointInterval time.Duration `koanf:"checkpoint_interval"` // longest work without a checkpoint
	CheckpointRecords  int           `koanf:"checkpoint_records"`  // most records without a checkpoint

	Compression     string        `koanf:"compression"`       // of what we produce: none, snappy (cheapest), lz4 or zstd (smallest)
	ProduceMaxBytes int           `koanf:"produce_max_bytes"` // of one batch; not above the brokers' message.max.bytes
	RequestTimeout  time.Duration `koanf:"request_timeout"`   // for one answer of a broker
}

// DefaultConfig reads and writes an unprotected broker on this machine.
func DefaultConfig() Config {
	return Config{
		Brokers:            []string{"127.0.0.1:9092"},
		ClientID:           "stakeout",
		ReplicationFactor:  1,
		SessionTimeout:     10 * time.Second,
		HeartbeatInterval:  2 * time.Second,
		RebalanceTimeout:   30 * time.Second,
		FetchMaxBytes:      2 << 20,
		FetchMaxWait:       500 * time.Millisecond,
		CheckpointInterval: 2 * time.Second,
		CheckpointRecords:  100_000,
		Compression:        "snappy",
		ProduceMaxBytes:    1_000_000,
		RequestTimeout:     10 * time.Second,
	}
}

// Validate names every setting that cannot be used.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if len(c.Brokers) == 0 {
		bad("brokers: is empty, want one host:port or more")
	}
	for _, b := range c.Brokers {
		host, port, err := net.SplitHostPort(b)
		if err != nil || host == "" || port == "" {
			bad("brokers: has %q, want host:port", b)
		} else if !c.TLS.Enabled && !c.Insecure && !loopback(host) {
			bad("brokers: has %q, which is not on this machine: want tls.enabled: true, or insecure: true to accept that anyone on the path can read and forge", b)
		}
	}
	if c.ReplicationFactor < 1 && c.ReplicationFactor != -1 {
		bad("replication_factor: is %d, want 1 or more, or -1 for the broker's default", c.ReplicationFactor)
	}
	if c.HeartbeatInterval <= 0 {
		bad("heartbeat_interval: is %s, want more than 0s", c.HeartbeatInterval)
	}
	if c.SessionTimeout < 3*c.HeartbeatInterval {
		bad("session_timeout: is %s, want three heartbeat intervals (%s) or more", c.SessionTimeout, 3*c.HeartbeatInterval)
	}
	if c.RebalanceTimeout < c.SessionTimeout {
		bad("rebalance_timeout: is %s, want the session timeout (%s) or more", c.RebalanceTimeout, c.SessionTimeout)
	}
	if c.FetchMaxBytes < 1<<10 || c.FetchMaxBytes > maxFetchBytes {
		bad("fetch_max_bytes: is %d, want 1024 to %d", c.FetchMaxBytes, maxFetchBytes)
	}
	if c.RequestTimeout < time.Second {
		bad("request_timeout: is %s, want 1s or more", c.RequestTimeout)
	}
	if c.FetchMaxWait <= 0 || c.FetchMaxWait > c.RequestTimeout {
		bad("fetch_max_wait: is %s, want more than 0s and at most the request timeout (%s)", c.FetchMaxWait, c.RequestTimeout)
	}
	if c.CheckpointInterval <= 0 {
		bad("checkpoint_interval: is %s, want more than 0s", c.CheckpointInterval)
	}
	if c.CheckpointRecords < 1 {
		bad("checkpoint_records: is %d, want 1 or more", c.CheckpointRecords)
	}
	if _, err := codecOf(c.Compression); err != nil {
		bad("compression: %w", err)
	}
	if c.ProduceMaxBytes < 1<<10 || c.ProduceMaxBytes > maxFetchBytes {
		bad("produce_max_bytes: is %d, want 1024 to %d", c.ProduceMaxBytes, maxFetchBytes)
	}
	return errors.Join(append(errs, c.TLS.validate(), c.SASL.validate())...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// drain is how long a partition that moves has for its last checkpoint. The
// rest of the rebalance timeout is for noticing, committing and joining.
func (c Config) drain() time.Duration { return c.RebalanceTimeout / 2 }
