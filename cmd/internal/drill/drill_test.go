package drill

import (
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	f := func(change func(*Config), want string) {
		t.Helper()
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want %q", err, want)
		}
	}
	f(func(c *Config) { c.Rate = -1 }, "rate: is -1, want 0 to 1000000")
	f(func(c *Config) { c.Load = time.Second }, "load: is 1s, want 10s to 1h")
	f(func(c *Config) { c.Agents = 3 }, "agents: are 3, want 40 to 5000")
	f(func(c *Config) { c.Incidents = 50 }, "agents: are 60, want 400 to 5000")
	f(func(c *Config) { c.Incidents = 7 }, "incidents: are 7, want a multiple of 5")
}
