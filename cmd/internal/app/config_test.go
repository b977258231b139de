package app

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nkeys"
	"go.yaml.in/yaml/v3"

	"github.com/stakeout-project/stakeout/store"
)

func TestDefaultConfig(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	cfg, err := Load("", nil, nil)
	if diff := cmp.Diff(DefaultConfig(), cfg); diff != "" || err != nil {
		t.Errorf("nothing loaded: %v (-default +loaded):\n%s", err, diff)
	}
}

func TestLoadPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stakeout.yaml")
	text := "topics: {events: file, rejects: file.r, findings: file.f}\nkafka:\n  brokers: [127.0.0.1:1, 127.0.0.1:2]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"STAKEOUT_TOPICS__EVENTS=env", "STAKEOUT_TOPICS__REJECTS=env.r", "STAKEOUT_CONFIG=no setting", "STAKEOUT_LIBCHDB=no setting", "TOPICS__EVENTS=not ours",
		"STAKEOUT_STORE__RETENTION__EVENTS=3", "STAKEOUT_TOPICS__RAW=a,b"}
	cfg, err := Load(file, environ, []string{"topics.events=set", "topics.retention=5h", "log.level=warn", "kafka.tls.enabled=false", "store.password=a=b,c"})
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Topics.Events, want.Topics.Rejects, want.Topics.Findings = "set", "env.r", "file.f"
	want.Topics.Raw, want.Topics.Retention = []string{"a", "b"}, 5*time.Hour
	want.Kafka.Brokers = []string{"127.0.0.1:1", "127.0.0.1:2"}
	want.Store.Retention.Events, want.Store.Password = 3, "a=b,c"
	want.Log.Level = 4
	if diff := cmp.Diff(want, cfg); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// leaves calls f with the key and the value of every setting.
func leaves(key string, v any, f func(key string, v any)) {
	m, ok := v.(map[string]any)
	if !ok {
		f(key, v)
		return
	}
	for k, v := range m {
		leaves(strings.TrimPrefix(key+"."+k, "."), v, f)
	}
}

// TestEverySettingByName sets every setting there is to its default, by --set
// and by the environment.
func TestEverySettingByName(t *testing.T) {
	text, err := DefaultConfig().YAML()
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	var set, environ []string
	leaves("", all, func(key string, v any) {
		value := fmt.Sprint(v)
		switch list := v.(type) {
		case []any:
			value = strings.ReplaceAll(strings.Trim(fmt.Sprint(list), "[]"), " ", ",")
		case nil:
			value = ""
		}
		set = append(set, key+"="+value)
		environ = append(environ, EnvPrefix+strings.ReplaceAll(strings.ToUpper(key), ".", "__")+"="+value)
	})
	if len(set) < 80 {
		t.Fatalf("there are %d settings only", len(set))
	}
	for how, load := range map[string]func() (Config, error){
		"--set": func() (Config, error) { return Load("", nil, set) }, "environment": func() (Config, error) { return Load("", environ, nil) },
	} {
		cfg, err := load()
		if diff := cmp.Diff(DefaultConfig(), cfg, equalEmpty); diff != "" || err != nil {
			t.Errorf("%s: %v (-default +loaded):\n%s", how, err, diff)
		}
	}
}

// equalEmpty takes a list without items for one that is not there.
var equalEmpty = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().Type().Kind() == reflect.Slice },
	cmp.FilterValues(func(a, b any) bool { return reflect.ValueOf(a).Len()+reflect.ValueOf(b).Len() == 0 }, cmp.Ignore()))

// TestYAML changes one setting after the other, prints all and reads it back.
func TestYAML(t *testing.T) {
	key, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	account, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "stakeout.yaml")
	tried, valid := 0, 0
	var visit func(cfg *Config, v reflect.Value, name string)
	visit = func(cfg *Config, v reflect.Value, name string) {
		if v.Kind() == reflect.Struct {
			for i := range v.NumField() {
				visit(cfg, v.Field(i), name+"."+v.Type().Field(i).Name)
			}
			return
		}
		if v.Type() == reflect.TypeFor[store.Secret]() {
			return
		}
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		defer v.Set(old)
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int()*2 + 1)
		case reflect.Float64:
			v.SetFloat(v.Float()/2 + 0.25)
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Slice:
			if v.Type().Elem().Kind() != reflect.String {
				t.Errorf("%s is a list of %s", name, v.Type().Elem())
				return
			}
			item := "127.0.0.1:3"
			if strings.Contains(name, "Trust") {
				item = account
			} else if strings.Contains(name, "Raw") {
				item = "topic"
			}
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			v.Index(0).SetString(item)
		default:
			t.Errorf("%s is a %s", name, v.Type())
		}
		tried++
		if cfg.Validate() != nil {
			return
		}
		valid++
		text, err := cfg.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Load(file, nil, nil)
		if diff := cmp.Diff(*cfg, got, equalEmpty); diff != "" || err != nil {
			t.Errorf("%s: %v (-printed +read):\n%s", name, err, diff)
		}
	}
	cfg := DefaultConfig()
	visit(&cfg, reflect.ValueOf(&cfg).Elem(), "")
	if valid < tried*2/3 {
		t.Errorf("of %d settings only %d could be changed", tried, valid)
	}
}

func TestSecretsAreHidden(t *testing.T) {
	if got := store.Secret("hunter2").String(); got != hiddenSecret {
		t.Errorf("a secret shows as %q, want %q", got, hiddenSecret)
	}
	cfg := DefaultConfig()
	cfg.Store.Password, cfg.Store.URL = "hunter2", "https://me:hunter3@ch.example.net"
	text, err := cfg.YAML()
	if err != nil || strings.Contains(string(text), "hunter") {
		t.Errorf("YAML prints a secret: %v\n%s", err, text)
	}
	for _, secret := range []string{"hunter2", "hunter3"} {
		if s := fmt.Sprintf("%v %+v %#v", cfg.Store.Password, cfg.Store.Password, cfg.Store.Password); strings.Contains(s, secret) {
			t.Errorf("a secret is printed: %s", s)
		}
	}
	cfg.Store.Password, cfg.Store.URL = hiddenSecret, "https://me:"+hiddenURLPassword+"@ch.example.net"
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "store.password: ") || !strings.Contains(err.Error(), "store.url: ") {
		t.Errorf("Validate() = %v, want both places without a secret", err)
	}
}

func TestValidate(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := DefaultConfig()
		change(&cfg)
		err := cfg.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Validate() = %v, want one line that begins with %q", err, want)
		}
	}
	f(`log.format: is "xml"`, func(c *Config) { c.Log.Format = "xml" })
	f(`http.listen: is "9600"`, func(c *Config) { c.HTTP.Listen = "9600" })
	f(`http.listen: is ":9600", which other machines reach`, func(c *Config) { c.HTTP.Listen = ":9600" })
	f(`http.listen: is "0.0.0.0:9600", which other machines reach`, func(c *Config) { c.HTTP.Listen = "0.0.0.0:9600" })
	f(`up.kafka: is "0.0.0.0:9092", want an address of this machine`, func(c *Config) { c.Up.Kafka = "0.0.0.0:9092" })
	f(`up.nats: is ":4222", want an address of this machine`, func(c *Config) { c.Up.NATS = ":4222" })
	f(`up.clickhouse: is "10.0.0.1:8123", want an address of this machine`, func(c *Config) { c.Up.ClickHouse = "10.0.0.1:8123" })
	f(`kafka.brokers: has "10.0.0.1:9092", which is not on this machine: want tls.enabled: true`, func(c *Config) { c.Kafka.Brokers = []string{"10.0.0.1:9092"} })
	f(`triage.nats.url: 10.0.0.1:4222 is another machine and the connection has no TLS; want tls://`, func(c *Config) { c.Triage.NATS.URL = "nats://10.0.0.1:4222" })
	f(`executor.nats.url: 10.0.0.1:4222 is another machine and the connection has no TLS; want tls://`, func(c *Config) { c.Executor.NATS.URL = "nats://10.0.0.1:4222" })
	f(`store.url: 10.0.0.1:8123 is another machine and not encrypted, want https://`, func(c *Config) { c.Store.URL = "http://10.0.0.1:8123" })
	f(`up.dir: is empty`, func(c *Config) { c.Up.Dir = "" })
	f(`up.kafka: is ""`, func(c *Config) { c.Up.Kafka = "" })
	f(`up.nats: is "x"`, func(c *Config) { c.Up.NATS = "x" })
	f(`up.clickhouse: is "x"`, func(c *Config) { c.Up.ClickHouse = "x" })
	f(`kafka.brokers: is empty`, func(c *Config) { c.Kafka.Brokers = nil })
	f(`topics.raw: is empty`, func(c *Config) { c.Topics.Raw = nil })
	f(`topics.raw[0]: is "a b"`, func(c *Config) { c.Topics.Raw = []string{"a b"} })
	f(`topics.raw[1]: is "a", which is raw[0] already`, func(c *Config) { c.Topics.Raw = []string{"a", "a"} })
	f(`topics.events: is "stakeout.raw", which is raw[0] already`, func(c *Config) { c.Topics.Events = "stakeout.raw" })
	f(`topics.rejects: is ".."`, func(c *Config) { c.Topics.Rejects = ".." })
	f(`topics.findings: is ""`, func(c *Config) { c.Topics.Findings = "" })
	f(`topics.profiles: is "aaa`, func(c *Config) { c.Topics.Profiles = strings.Repeat("a", 250) })
	f(`topics.partitions: is 0`, func(c *Config) { c.Topics.Partitions = 0 })
	f(`topics.retention: is 1m0s`, func(c *Config) { c.Topics.Retention = time.Minute })
	f(`topics.facts_retention: is 1h0m0s, want 336h or more`, func(c *Config) { c.Topics.FactsRetention = time.Hour })
	f(`detect.max_entities: is 0, want 1 or more`, func(c *Config) { c.Detect.MaxEntities = 0 })
	f(`groups.detect: is empty`, func(c *Config) { c.Groups.Detect = "" })
	f(`triage.tick: is 0s`, func(c *Config) { c.Triage.Tick = 0 })
	f(`triage.trust.operators[0]: is "x"`, func(c *Config) { c.Triage.Trust.Operators = []string{"x"} })
	f(`triage.nats.url: has the scheme "http"`, func(c *Config) { c.Triage.NATS.URL = "http://127.0.0.1" })
	f(`store.url: `, func(c *Config) { c.Store.URL = "ftp://127.0.0.1" })
	f(`store.retention.events: is -1`, func(c *Config) { c.Store.Retention.Events = -1 })
	f(`actions.nats.url: `, func(c *Config) { c.Actions.NATS.URL = "nats://elsewhere.example" })
	f(`executor.hands: is 0`, func(c *Config) { c.Executor.Hands = 0 })
	f(`oauth.server.timeout: is 0s`, func(c *Config) {
		c.OAuth.Server.RevokeURL, c.OAuth.Server.IntrospectURL, c.OAuth.Server.ClientID, c.OAuth.Server.SecretFile = "https://a.example", "https://a.example", "me", "file"
		c.OAuth.Server.Timeout = 0
	})
	f(`page.timeout: is 0s`, func(c *Config) { c.Page.Timeout = 0 })
	f(`operator.nats.creds_file: is set beside seed_file`, func(c *Config) { c.Operator.NATS.CredsFile, c.Operator.NATS.SeedFile = "a", "b" })

	for _, listen := range []string{"", "[::1]:9600", "localhost:0"} {
		if err := (HTTP{Listen: listen}).Validate(); err != nil {
			t.Errorf("http.listen %q: %v", listen, err)
		}
	}
	if err := (HTTP{Listen: "0.0.0.0:9600", Insecure: true}).Validate(); err != nil {
		t.Errorf("http.insecure: %v", err)
	}

	// What is empty matters to the role alone that needs it.
	for role, want := range map[Role]string{Triage: "triage.signing_key: is empty", Executor: "executor.signing_key: is empty"} {
		if err := DefaultConfig().ValidateRoles(role); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ValidateRoles(%s) = %v, want %s", role, err, want)
		}
	}
	if err := DefaultConfig().ValidateRoles(Ingest, Detect, Store); err != nil {
		t.Errorf("ValidateRoles = %v", err)
	}
}
