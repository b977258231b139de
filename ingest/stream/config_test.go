package stream

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := DefaultConfig()
		change(&cfg)
		err := cfg.Validate()
		if want == "" {
			if err != nil {
				t.Errorf("Validate() = %v, want nil", err)
			}
			return
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Validate() = %v, want prefix %q", err, want)
		}
	}
	f("brokers: is empty", func(c *Config) { c.Brokers = nil })
	f(`brokers: has "kafka", want host:port`, func(c *Config) { c.Brokers = []string{"kafka"} })
	f(`brokers: has ":9092", want host:port`, func(c *Config) { c.Brokers = []string{":9092"} })
	f(`brokers: has "kafka:9092", which is not on this machine`, func(c *Config) { c.Brokers = []string{"localhost:9092", "kafka:9092"} })
	f("", func(c *Config) { c.Brokers = []string{"localhost:9092", "[::1]:9092", "127.0.0.2:9092"} })
	f("", func(c *Config) { c.Brokers, c.Insecure = []string{"kafka:9092"}, true })
	f("", func(c *Config) { c.Brokers, c.TLS.Enabled = []string{"kafka:9092"}, true })
	f("replication_factor: is 0", func(c *Config) { c.ReplicationFactor = 0 })
	f("", func(c *Config) { c.ReplicationFactor = -1 })
	f("heartbeat_interval: is 0s", func(c *Config) { c.HeartbeatInterval = 0 })
	f("session_timeout: is 5s", func(c *Config) { c.SessionTimeout = 5 * time.Second })
	f("rebalance_timeout: is 1s", func(c *Config) { c.RebalanceTimeout = time.Second })
	f("fetch_max_bytes: is 1,", func(c *Config) { c.FetchMaxBytes = 1 })
	f("fetch_max_wait: is 0s", func(c *Config) { c.FetchMaxWait = 0 })
	f("fetch_max_wait: is 1m0s", func(c *Config) { c.FetchMaxWait = time.Minute })
	f("request_timeout: is 0s", func(c *Config) { c.RequestTimeout = 0 })
	f("checkpoint_interval: is 0s", func(c *Config) { c.CheckpointInterval = 0 })
	f("checkpoint_records: is 0", func(c *Config) { c.CheckpointRecords = 0 })
	f(`compression: is "gzip"`, func(c *Config) { c.Compression = "gzip" })
	f("produce_max_bytes: is 0", func(c *Config) { c.ProduceMaxBytes = 0 })
	f("tls.cert_file: wants tls.key_file", func(c *Config) { c.TLS = TLS{Enabled: true, CertFile: "x"} })
	f("tls.enabled: is false", func(c *Config) { c.TLS.CAFile = "x" })
	f("sasl.mechanism: is empty", func(c *Config) { c.SASL.Username = "u" })
	f(`sasl.mechanism: is "gssapi"`, func(c *Config) { c.SASL = SASL{Mechanism: "gssapi", Username: "u", PasswordEnv: "X"} })
	f("sasl.username: is empty", func(c *Config) { c.SASL = SASL{Mechanism: "plain", PasswordEnv: "X"} })
	f("sasl.password_file: want either", func(c *Config) { c.SASL = SASL{Mechanism: "plain", Username: "u"} })
	f("sasl.password_file: want either", func(c *Config) {
		c.SASL = SASL{Mechanism: "plain", Username: "u", PasswordFile: "f", PasswordEnv: "X"}
	})
}

func TestConfigHoldsNoPassword(t *testing.T) {
	t.Setenv("STREAM_TEST_PASSWORD", "hunter2")
	cfg := DefaultConfig()
	cfg.SASL = SASL{Mechanism: "plain", Username: "u", PasswordEnv: "STREAM_TEST_PASSWORD"}
	c := testClient(t, cfg.Brokers[0], func(c *Config) { c.SASL = cfg.SASL })
	for _, s := range []string{fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", c.cfg)} {
		if strings.Contains(s, "hunter2") {
			t.Errorf("printing the configuration shows the password: %s", s)
		}
	}
}
