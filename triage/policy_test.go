package triage

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

func readPolicy(t *testing.T, text []byte) (p Policy, err error) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&p); err != nil {
		return p, err
	}
	return p, p.Validate()
}

func TestShippedPolicies(t *testing.T) {
	for _, name := range []string{"response.yaml", "response.auto.yaml"} {
		text, err := os.ReadFile(filepath.Join("..", "rules", name))
		if err != nil {
			t.Fatal(err)
		}
		p, err := readPolicy(t, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, e := range p.Entries {
			for _, s := range e.Ladder {
				if shadow := s.Mode == command.Shadow; shadow != (name == "response.yaml") {
					t.Errorf("%s: %s of %s has mode %s", name, s.Kind, e.Name, s.Mode)
				}
			}
		}
	}
}

func TestDefaultPolicy(t *testing.T) {
	if err := DefaultPolicy().Validate(); err != nil {
		t.Error(err)
	}
}

func TestPolicyReadsEverySetting(t *testing.T) {
	key := newSigner(t).Public()
	p, err := readPolicy(t, []byte(`
kill_switch: true
max_age: 2h
cooldown: 5m
posture_for: 1h30m
protected: ["pay*"]
budgets: {revoke_token: {max: 3, per: 10m}}
policies:
  - name: one
    match: {threats: [privilege-drift], min_severity: critical, agents: ["a*"], roles: [r], tenants: [t]}
    ladder:
      - {kind: revoke_token, mode: approve, expires: 10m, ack_timeout: 5s, retries: 3, escalate_after: 1m, approvers: [`+key+`]}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Policy{
		KillSwitch: true, MaxAge: 2 * time.Hour, Cooldown: 5 * time.Minute, PostureFor: 90 * time.Minute, Protected: []string{"pay*"},
		Budgets: map[command.Kind]Budget{command.RevokeToken: {Max: 3, Per: 10 * time.Minute}},
		Entries: []Entry{{
			Name:  "one",
			Match: Match{Threats: []string{"privilege-drift"}, MinSeverity: Severity(detect.Critical), Agents: []string{"a*"}, Roles: []string{"r"}, Tenants: []string{"t"}},
			Ladder: []Step{{Kind: command.RevokeToken, Mode: command.Approve, Expires: 10 * time.Minute, AckTimeout: 5 * time.Second,
				Retries: 3, EscalateAfter: time.Minute, Approvers: []string{key}}},
		}},
	}
	if d := cmp.Diff(want, p); d != "" {
		t.Error(d)
	}
	if _, err := readPolicy(t, []byte("policies: [{name: a, match: {min_severity: hihg}, ladder: [{kind: page, mode: auto}]}]")); err == nil || !strings.Contains(err.Error(), "hihg") {
		t.Errorf("a misspelt severity: %v", err)
	}
}

// wantProblem fails unless a line of what is wrong with p begins so.
func wantProblem(t *testing.T, p Policy, want string) {
	t.Helper()
	err := p.Validate()
	if err == nil {
		t.Errorf("nothing is wrong, want %q", want)
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if strings.HasPrefix(line, want) {
			return
		}
	}
	t.Errorf("error is %v, want a line that begins with %q", err, want)
}

func TestPolicyValidate(t *testing.T) {
	f := func(want string, change func(*Policy)) {
		t.Helper()
		p := autoPolicy()
		change(&p)
		wantProblem(t, p, want)
	}
	step := func(p *Policy) *Step { return &p.Entries[0].Ladder[0] }
	f("max_age: is -1s", func(p *Policy) { p.MaxAge = -time.Second })
	f("cooldown: is -1s", func(p *Policy) { p.Cooldown = -time.Second })
	f("posture_for: is -1s", func(p *Policy) { p.PostureFor = -time.Second })
	f("protected[1]: is", func(p *Policy) { p.Protected = []string{"a", ""} })
	f("budgets.nuke: is not a kind", func(p *Policy) { p.Budgets["nuke"] = Budget{Max: 1, Per: time.Hour} })
	f("budgets.watch: is not a kind with a budget", func(p *Policy) { p.Budgets[command.Watch] = Budget{Max: 1, Per: time.Hour} })
	f("budgets.page.max: is 0", func(p *Policy) { p.Budgets[command.Page] = Budget{Max: 0, Per: time.Hour} })
	f("budgets.page.per: is 0s", func(p *Policy) { p.Budgets[command.Page] = Budget{Max: 1, Per: 0} })
	f("budgets.revoke_token: is missing", func(p *Policy) { p.Budgets = nil })
	f("policies: is empty", func(p *Policy) { p.Entries = nil })
	f("policies[0].name: is \"\"", func(p *Policy) { p.Entries[0].Name = "" })
	f("policies[1].name: is \"contain\" like policies[0]", func(p *Policy) { p.Entries = append(p.Entries, p.Entries[0]) })
	f("policies[0].match.agents[0]: is", func(p *Policy) { p.Entries[0].Match.Agents = []string{""} })
	f("policies[0].match.min_severity: is 9", func(p *Policy) { p.Entries[0].Match.MinSeverity = 9 })
	f("policies[0].ladder: has 0 steps", func(p *Policy) { p.Entries[0].Ladder = nil })
	f("policies[0].ladder[0].kind: is \"nuke\"", func(p *Policy) { step(p).Kind = "nuke" })
	f("policies[0].ladder[0].mode: is \"\"", func(p *Policy) { step(p).Mode = "" })
	f("policies[0].ladder[1].mode: is shadow after a step that acts", func(p *Policy) { p.Entries[0].Ladder[1].Mode = command.Shadow })
	f("policies[0].ladder[1].mode: is approve for page", func(p *Policy) { p.Entries[0].Ladder[1].Mode = command.Approve })
	f("policies[0].ladder[0].approvers: is empty", func(p *Policy) { step(p).Mode = command.Approve })
	f("policies[0].ladder[0].approvers: is set, but mode is auto", func(p *Policy) { step(p).Approvers = []string{"A"} })
	f("policies[0].ladder[0].approvers[0]: is \"A\"", func(p *Policy) { step(p).Mode, step(p).Approvers = command.Approve, []string{"A"} })
	f("policies[0].ladder[0].escalate_after: is 15m0s", func(p *Policy) { step(p).Mode, step(p).EscalateAfter = command.Approve, 15*time.Minute })
	f("policies[0].ladder[0].expires: is -1s", func(p *Policy) { step(p).Expires = -time.Second })
	f("policies[0].ladder[0].ack_timeout: is -1s", func(p *Policy) { step(p).AckTimeout = -time.Second })
	f("policies[0].ladder[0].lease: is 1h0m0s, but a revoke_token has no undo", func(p *Policy) { step(p).Lease = time.Hour })
	f("policies[0].ladder[0].lease: is -1s", func(p *Policy) { step(p).Kind, step(p).Lease = command.Suspend, -time.Second })
	f("budgets.suspend: is missing", func(p *Policy) { p.Entries[0].Also = []Step{{Kind: command.Suspend, Mode: command.Auto}} })
	f("policies[0].also[0].kind: is revoke_token, which is taken at once already", func(p *Policy) { p.Entries[0].Also = []Step{{Kind: command.RevokeToken, Mode: command.Auto}} })
	f("policies[0].also[0].kind: is \"nuke\", want watch, notify, page, ticket, signal, require_approval, block_tool", func(p *Policy) { p.Entries[0].Also = []Step{{Kind: "nuke", Mode: command.Auto}} })
	f("policies[0].also: has 9 steps", func(p *Policy) { p.Entries[0].Also = make([]Step, 9) })
	f("policies[0].ladder[0].retries: is -1", func(p *Policy) { step(p).Retries = -1 })
}

func TestPolicyMatch(t *testing.T) {
	p := Policy{Entries: []Entry{
		{Name: "drift", Match: Match{Threats: []string{"privilege-*"}, MinSeverity: Severity(detect.High), Roles: []string{"clerk"}, Tenants: []string{"t?"}}},
		{Name: "rest", Match: Match{Agents: []string{"a*", "b"}}},
	}}
	f := func(want string, fi detect.Finding) {
		t.Helper()
		e, ok := p.match(&fi)
		if e.Name != want || ok != (want != "") {
			t.Errorf("%+v matches %q, want %q", fi, e.Name, want)
		}
	}
	f("drift", detect.Finding{Threat: "privilege-drift", Severity: detect.Critical, Role: "clerk", Tenant: "t1", Agent: "a1"})
	f("rest", detect.Finding{Threat: "privilege-drift", Severity: detect.Medium, Role: "clerk", Tenant: "t1", Agent: "a1"})
	f("rest", detect.Finding{Threat: "loop", Severity: detect.Critical, Role: "clerk", Tenant: "t1", Agent: "b"})
	f("", detect.Finding{Threat: "privilege-drift", Severity: detect.Critical, Role: "clerk", Tenant: "t12", Agent: "c"})
}

func FuzzGlob(f *testing.F) {
	for _, s := range [][2]string{{"*", ""}, {"a*b?c", "aXXbYc"}, {"", ""}, {"?", ""}, {"**a", "aa"}, {"a*a*a", "aaa"}, {"*.*", "a.b"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 100 || len(s) > 1000 || strings.ContainsFunc(pattern+s, func(r rune) bool { return r >= 0x80 }) {
			return
		}
		re := regexp.QuoteMeta(pattern)
		re = strings.ReplaceAll(strings.ReplaceAll(re, `\*`, `.*`), `\?`, `.`)
		if got, want := command.Glob(pattern, s), regexp.MustCompile(`(?s)^`+re+`$`).MatchString(s); got != want {
			t.Errorf("glob(%q, %q) = %t, want %t", pattern, s, got, want)
		}
	})
}

func TestConfigValidate(t *testing.T) {
	good := DefaultConfig()
	good.SigningKey = "triage.sign.nk"
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
	f("signing_key: ", func(c *Config) { c.SigningKey = "" })
	f("nats.url: nats.example:4222 is another machine", func(c *Config) { c.NATS.URL = "nats://nats.example:4222" })
	f("trust.executors[0]: ", func(c *Config) { c.Trust.Executors = []string{"x"} })
	f("group: ", func(c *Config) { c.Group = "" })
	f("incident_gap: ", func(c *Config) { c.IncidentGap = 0 })
	f("tick: ", func(c *Config) { c.Tick = 0 })
	f("timeout: ", func(c *Config) { c.Timeout = 0 })
	f("retention: ", func(c *Config) { c.Retention = 0 })
	f("replicas: ", func(c *Config) { c.Replicas = 0 })
}

// TestKindsAreAll has every kind that a step may have be one that there is.
func TestKindsAreAll(t *testing.T) {
	for _, k := range Kinds() {
		if !slices.Contains(command.Kinds(), k) {
			t.Errorf("%s is not among %v", k, command.Kinds())
		}
	}
}
