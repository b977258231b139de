package store

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := DefaultConfig()
		change(&c)
		err := c.Validate()
		if want == "" {
			if err != nil {
				t.Errorf("Validate(%+v) = %v, want nil", c, err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate(%+v) = %v, want %q", c, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("Validate shows the password: %v", err)
		}
	}
	f("", func(c *Config) { c.URL = "http://u:geheim@localhost" })
	f("", func(c *Config) { c.URL = "http://[::1]:8123" })
	f("", func(c *Config) { c.URL = "https://clickhouse.example/ch/" })
	f("", func(c *Config) { c.URL = "clickhouses://clickhouse.example" })
	f("", func(c *Config) { c.URL = "clickhouse://127.0.0.1" })
	f("", func(c *Config) { c.URL, c.Insecure = "http://clickhouse:8123", true })
	f("url: clickhouse:8123 is another machine", func(c *Config) { c.URL = "http://u:geheim@clickhouse:8123" })
	f("url: 10.0.0.1:9000 is another machine", func(c *Config) { c.URL = "clickhouse://10.0.0.1" })
	f("url: is not an address", func(c *Config) { c.URL = "" })
	f("url: is not an address", func(c *Config) { c.URL = "http://u:geheim@:80\x00" })
	f(`url: has the scheme "tcp"`, func(c *Config) { c.URL = "tcp://u:geheim@localhost" })
	f("url: has parameters", func(c *Config) { c.URL = "http://localhost/?password=geheim" })
	f(`database: is "a-b"`, func(c *Config) { c.Database = "a-b" })
	f("password_file: is set and password too", func(c *Config) { c.Password, c.PasswordFile = "geheim", "x" })
	f("batch_rows: is 0", func(c *Config) { c.BatchRows = 0 })
	f("batch_bytes: is 1", func(c *Config) { c.BatchBytes = 1 })
	f("batch_age: is 0s", func(c *Config) { c.BatchAge = 0 })
	f("timeout: is 1ms", func(c *Config) { c.Timeout = time.Millisecond })
	f("retention.events: is -1", func(c *Config) { c.Retention.Events = -1 })
	f("retention.rejects: is 100000", func(c *Config) { c.Retention.Rejects = 100_000 })
}

func TestPasswordIsHidden(t *testing.T) {
	c := DefaultConfig()
	c.Password = "geheim"
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v %q %s", c, c, c.Password, c.Password), string(b)} {
		if strings.Contains(shown, "geheim") {
			t.Errorf("the password is shown: %s", shown)
		}
	}
}

func TestPasswordFile(t *testing.T) {
	c := DefaultConfig()
	c.PasswordFile = filepath.Join(t.TempDir(), "password")
	if _, err := c.password(address{}); err == nil || !strings.Contains(err.Error(), "password_file: ") {
		t.Errorf("without the file: %v", err)
	}
	if err := os.WriteFile(c.PasswordFile, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.password(address{}); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("with an empty file: %v", err)
	}
	if err := os.WriteFile(c.PasswordFile, []byte("geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := c.password(address{}); err != nil || got != "geheim" {
		t.Errorf("password = %q, %v; want the file's", got, err)
	}
}
