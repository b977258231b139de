package command

import (
	"strings"
	"testing"
)

func TestNATSConfigValidate(t *testing.T) {
	if err := DefaultNATSConfig().Validate(); err != nil {
		t.Error(err)
	}
	f := func(want string, change func(*NATSConfig)) {
		t.Helper()
		c := DefaultNATSConfig()
		change(&c)
		err := c.Validate()
		if want == "" {
			if err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: error is %v, want %q", c, err, want)
		}
	}
	f("", func(c *NATSConfig) { c.URL = "nats://[::1]:4222,nats://localhost:4222" })
	f("", func(c *NATSConfig) { c.URL = "tls://nats.example:4222" })
	f("", func(c *NATSConfig) { c.URL, c.CAFile = "nats://nats.example:4222", "ca.pem" })
	f("", func(c *NATSConfig) { c.URL, c.Insecure = "nats://nats.example:4222", true })
	f("url: nats.example:4222 is another machine", func(c *NATSConfig) { c.URL = "nats://nats.example:4222" })
	f("url: 10.0.0.1:4222 is another machine", func(c *NATSConfig) { c.URL = "nats://127.0.0.1:4222,nats://10.0.0.1:4222" })
	f("url: is empty", func(c *NATSConfig) { c.URL = "" })
	f("url: has the scheme", func(c *NATSConfig) { c.URL = "http://127.0.0.1:4222" })
	f("url: holds a name or password", func(c *NATSConfig) { c.URL = "nats://me:secret@127.0.0.1:4222" })
	f("url: is not an address", func(c *NATSConfig) { c.URL = "nats://me:secret@" })
	f("creds_file: ", func(c *NATSConfig) { c.SeedFile, c.CredsFile = "a", "b" })
	f("cert_file: ", func(c *NATSConfig) { c.CertFile = "a" })
	f("inbox_prefix: ", func(c *NATSConfig) { c.InboxPrefix = "a.>" })
}
