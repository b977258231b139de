package store

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// Config says where ClickHouse is and how rows get there.
type Config struct {
	URL          string `koanf:"url"`           // http://, https://, clickhouse:// (native) or clickhouses:// (native over TLS); may hold user and password
	Database     string `koanf:"database"`      // made if it is not there
	User         string `koanf:"user"`          // unless the URL names one
	Password     Secret `koanf:"password"`      // unless the URL or the file holds it
	PasswordFile string `koanf:"password_file"` // read at the start
	CAFile       string `koanf:"ca_file"`       // PEM: whose certificates to trust; empty: the system's
	Insecure     bool   `koanf:"insecure"`      // allow a server on another machine without TLS

	BatchRows  int           `koanf:"batch_rows"`  // rows that make a batch; while catching up, a batch may have twice as many
	BatchBytes int           `koanf:"batch_bytes"` // bytes that make a batch
	BatchAge   time.Duration `koanf:"batch_age"`   // a row waits no longer than this
	Timeout    time.Duration `koanf:"timeout"`     // of one insert or query

	Retention Retention `koanf:"retention"`
}

// Retention is how many days rows are kept, counted from ingest; 0 is for ever.
type Retention struct {
	Events   int `koanf:"events"`
	Findings int `koanf:"findings"`
	Actions  int `koanf:"actions"`
	Profiles int `koanf:"profiles"`
	Rejects  int `koanf:"rejects"`
}

// DefaultConfig is for the embedded engine or a server on this machine.
func DefaultConfig() Config {
	return Config{
		URL: "http://127.0.0.1:8123", Database: "stakeout",
		BatchRows: 20_000, BatchBytes: 16 << 20, BatchAge: 2 * time.Second, Timeout: time.Minute,
		Retention: Retention{Events: 30, Findings: 365, Actions: 365, Rejects: 30},
	}
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// Validate lists everything wrong with c.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if u, err := parse(c.URL); err != nil {
		errs = append(errs, err)
	} else if !u.tls && !u.loopback() && !c.Insecure {
		bad("url: %s is another machine and not encrypted, want https:// or clickhouses://, or insecure: true", u.host)
	}
	if !identifier.MatchString(c.Database) {
		bad("database: is %q, want a name of letters, digits and _", c.Database)
	}
	if c.Password != "" && c.PasswordFile != "" {
		bad("password_file: is set and password too, want one of them")
	}
	if c.BatchRows < 1 || c.BatchRows > 1_000_000 {
		bad("batch_rows: is %d, want 1 to 1000000", c.BatchRows)
	}
	if c.BatchBytes < 1<<10 || c.BatchBytes > 1<<30 {
		bad("batch_bytes: is %d, want 1024 to %d", c.BatchBytes, 1<<30)
	}
	if c.BatchAge <= 0 {
		bad("batch_age: is %s, want more than 0s", c.BatchAge)
	}
	if c.Timeout < time.Second {
		bad("timeout: is %s, want 1s or more", c.Timeout)
	}
	for _, r := range c.Retention.tables() {
		if r.days < 0 || r.days > maxDays {
			bad("retention.%s: is %d, want 0 (for ever) to %d days", r.key, r.days, maxDays)
		}
	}
	return errors.Join(errs...)
}

const maxDays = 36_500

// retention is one setting of [Retention] and the tables it is for.
type retention struct {
	key    string
	days   int
	tables []string
}

func (r Retention) tables() []retention {
	return []retention{
		{"events", r.Events, []string{"events"}},
		{"findings", r.Findings, []string{"findings"}},
		{"actions", r.Actions, []string{"actions", "action_history"}},
		{"profiles", r.Profiles, []string{"profiles"}},
		{"rejects", r.Rejects, []string{"rejects"}},
	}
}

// address is a parsed URL of the configuration.
type address struct {
	native, tls    bool
	host           string // with port
	path           string
	user, password string
}

// parse takes a URL apart. Its errors never show it: it may hold a password.
func parse(raw string) (address, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return address{}, errors.New("url: is not an address, want http://, https://, clickhouse:// or clickhouses:// with a host")
	}
	a := address{host: u.Host, path: strings.TrimSuffix(u.Path, "/"), user: u.User.Username()}
	a.password, _ = u.User.Password()
	var port string
	switch u.Scheme {
	case "http":
		port = "8123"
	case "https":
		port, a.tls = "8443", true
	case "clickhouse":
		port, a.native = "9000", true
	case "clickhouses":
		port, a.native, a.tls = "9440", true, true
	default:
		return address{}, fmt.Errorf("url: has the scheme %q, want http, https, clickhouse or clickhouses", u.Scheme)
	}
	if u.Port() == "" {
		a.host = net.JoinHostPort(u.Hostname(), port)
	}
	if u.RawQuery != "" || a.native && a.path != "" {
		return address{}, errors.New("url: has parameters or a path, want a host only")
	}
	return a, nil
}

func (a address) loopback() bool {
	host, _, err := net.SplitHostPort(a.host)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// password is the one of the URL, of the configuration or of its file.
func (c Config) password(a address) (string, error) {
	switch {
	case a.password != "":
		return a.password, nil
	case c.PasswordFile == "":
		return string(c.Password), nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	password := strings.TrimSpace(string(b))
	if password == "" {
		return "", fmt.Errorf("password_file: %s is empty", c.PasswordFile)
	}
	return password, nil
}

// A Secret is a string that shows itself to nobody: printed, logged or encoded
// it is a placeholder.
type Secret string

const hidden = "(hidden)"

func (s Secret) show() string {
	if s == "" {
		return ""
	}
	return hidden
}

// String implements [fmt.Stringer].
func (s Secret) String() string { return s.show() }

// GoString implements [fmt.GoStringer].
func (s Secret) GoString() string { return s.show() }

// MarshalText implements [encoding.TextMarshaler].
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.show()), nil }
