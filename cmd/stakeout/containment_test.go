package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	parts "github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/rules"
	"github.com/stakeout-project/stakeout/triage/command"
)

// TestContainment attacks agents with a clean past, live, and looks whether the
// token behind each attack is really gone, in the eyes of who issued it.
func TestContainment(t *testing.T) {
	engine(t)
	c := prepare(t)
	c.up = up(t, c.dir, c.settings(t, "../../rules/response.auto.yaml"))
	fleet := simulated(t, 20, 14, "--seed", "5", "--threats", "none")
	c.fleet = fleet
	if n := c.up.ship(fleet.file); n != fleet.lines {
		t.Fatalf("ship acknowledged %d lines, want %d", n, fleet.lines)
	}
	c.up.judged(fleet.lines)
	victims := c.victims(t, 9)

	t.Run("revoked and verified", func(t *testing.T) { c.testRevoked(t, victims[0]) })
	t.Run("goes on", func(t *testing.T) { c.testGoesOn(t, victims[0]) })
	t.Run("a shared credential", func(t *testing.T) { c.testShared(t, victims[0]) })
	t.Run("two sessions", func(t *testing.T) { c.testTwoSessions(t, victims[7]) })
	t.Run("a provider that lies", func(t *testing.T) { c.testLies(t, victims[1]) })
	t.Run("nothing to revoke", func(t *testing.T) { c.testNameless(t, victims[2]) })
	t.Run("answers by others", func(t *testing.T) { c.testAnswers(t, victims[7], victims[2]) })

	approver := c.up.running.Operator.Approver
	c.up.stop()
	c.up = up(t, c.dir, c.settings(t, approving(t, approver, victims[8])))
	t.Run("approved", func(t *testing.T) { c.testApproved(t, victims[3]) })
	t.Run("rejected", func(t *testing.T) { c.testRejected(t, victims[4]) })
	t.Run("decided by nobody", func(t *testing.T) { c.testExpired(t, victims[8]) })

	c.up.stop()
	s := c.settings(t, trusting(t))
	s["topics"] = settings{"raw": []string{"stakeout.raw", public}}
	c.up = up(t, c.dir, s)
	t.Run("evidence that others laid", func(t *testing.T) { c.testSeeded(t, victims[5]) })
	t.Run("an accusation by anybody", func(t *testing.T) { c.testAccused(t, victims[6]) })
	c.up.stop()
}

// containment is a pipeline beside an identity provider.
type containment struct {
	dir, vault, secret string
	provider           *parts.IDP
	up                 *pipeline
	fleet              fleet
}

func prepare(t *testing.T) *containment {
	t.Helper()
	provider, err := parts.StartIDP(parts.DefaultIDPConfig())
	check(t, err)
	t.Cleanup(func() {
		if err := provider.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	c := &containment{dir: filepath.Join(dir, "data"), vault: filepath.Join(dir, "vault"), secret: filepath.Join(dir, "secret"), provider: provider}
	check(t, os.Mkdir(c.vault, 0o700))
	check(t, os.WriteFile(c.secret, []byte(provider.Secret()+"\n"), 0o600))
	return c
}

func (c *containment) settings(t *testing.T, policy string) settings {
	t.Helper()
	policy, err := filepath.Abs(policy)
	check(t, err)
	return settings{
		"rules":  settings{"response": policy, "detection": watchful(t)},
		"triage": settings{"breach_slack": "1ms"},
		"oauth": settings{"vault": c.vault, "server": settings{
			"revoke_url": c.provider.URL() + "/revoke", "introspect_url": c.provider.URL() + "/introspect",
			"client_id": c.provider.ClientID(), "secret_file": c.secret, "settle": "500ms",
		}},
	}
}

// watchful is the shipped detection rules with a budget of which every agent is
// watched all the time.
func watchful(t *testing.T) (file string) {
	t.Helper()
	shipped, err := rules.Shipped.ReadFile("detection.yaml")
	check(t, err)
	file = filepath.Join(t.TempDir(), "detection.yaml")
	check(t, os.WriteFile(file, bytes.Replace(shipped, []byte("budget: 0.01"), []byte("budget: 0.5"), 1), 0o600))
	return file
}

// victims are agents that have acted with privileges for the whole fortnight,
// with nothing found that used up some of their budget.
func (c *containment) victims(t *testing.T, n int) []string {
	t.Helper()
	var agents []string
	eventually(t, 20*time.Second, func() error {
		agents = nil
		for _, a := range answer[struct {
			Agent, State         string
			Privileges, Findings int
		}](t, "agents", "--config", c.up.file, "--state", "active") {
			// Workers act rarely, so that little surprises of them.
			if a.Privileges >= 3 && a.Findings == 0 && !strings.Contains(a.Agent, "-worker-") {
				agents = append(agents, a.Agent)
			}
		}
		if len(agents) < n {
			return fmt.Errorf("%d agents can be judged, want %d", len(agents), n)
		}
		return nil
	})
	return agents
}

// attack has an agent, or who speaks for it, pay out money as it never did before.
func (c *containment) attack(t *testing.T, agent, credential string) (at time.Time, token string) {
	t.Helper()
	if credential != "" {
		token = c.provider.Issue(credential)
		check(t, os.WriteFile(filepath.Join(c.vault, command.Token(credential)), []byte(token), 0o600))
	}
	at = time.Now()
	line, err := json.Marshal(map[string]any{
		"time": at.UTC().Format(time.RFC3339Nano), "event.name": "tool.call", "event.id": "attack-on-" + agent, "gen_ai.agent.id": agent,
		"gen_ai.conversation.id": "hijacked-" + agent, "stakeout.credential.id": credential, "gen_ai.tool.name": "payout",
		"stakeout.effect": "money", "stakeout.privilege": "treasury:transfer", "stakeout.sensitivity": "restricted", "stakeout.destination": "LI21 0881 0000 2324 013A A",
	})
	check(t, err)
	r := stakeoutWith(t, nil, append(line, '\n'), "ship", "--config", c.up.file, "-")
	if r.code != 0 {
		t.Fatalf("ship: exit status %d\n%s", r.code, r.err)
	}
	return at, token
}

// action waits until an action against the agent has the status.
func (c *containment) action(t *testing.T, agent, kind, status string) outcome {
	t.Helper()
	var found outcome
	eventually(t, 20*time.Second, func() error {
		var all []string
		for _, o := range answer[outcome](t, "actions", "--config", c.up.file, "--agent", agent) {
			if o.Action.Kind == kind && o.Status == status {
				found = o
				return nil
			}
			all = append(all, o.Action.Kind+" "+o.Status+": "+o.Detail)
		}
		return fmt.Errorf("no %s of %s is %s; there are %q", kind, agent, status, all)
	})
	if row := c.up.rows(fmt.Sprintf("SELECT kind, status, agent FROM stakeout.actions FINAL WHERE id = '%s'", found.Action.ID)); !slices.Equal(row, []string{kind + "\t" + status + "\t" + agent}) {
		t.Errorf("the row in ClickHouse is %q, want %s %s %s", row, kind, status, agent)
	}
	return found
}

// posture is an agent's standing, as enforcement points see it.
func (c *containment) posture(t *testing.T, agent string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	kv, err := c.up.operator(t).KeyValue(ctx, "posture")
	check(t, err)
	e, err := kv.Get(ctx, command.Token(agent))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return "normal"
	}
	check(t, err)
	var signed struct {
		Posture struct{ Standing string }
	}
	check(t, json.Unmarshal(e.Value(), &signed))
	return signed.Posture.Standing
}

// commands counts the messages that command the revocation.
func (c *containment) commands(t *testing.T, action string) (n int) {
	t.Helper()
	for _, m := range c.up.heard(t) {
		if strings.HasPrefix(m.Subject, "stakeout.action.revoke_token.") && strings.Contains(string(m.Data), action) {
			n++
		}
	}
	return n
}

func (c *containment) testRevoked(t *testing.T, agent string) {
	if got := c.posture(t, agent); got != "normal" {
		t.Errorf("posture before is %s, want normal", got)
	}
	at, token := c.attack(t, agent, "jti/of "+agent)
	o := c.action(t, agent, "revoke_token", "verified")
	t.Logf("from the event to the token verified to be gone: %s", o.Time.Sub(at).Round(time.Millisecond))
	if c.provider.Active(token) {
		t.Error("the token is active, although its revocation was verified")
	}
	if o.Action.Mode != "auto" || o.Action.Target.Credential != "jti/of "+agent || !strings.Contains(o.Action.Reason, "treasury:transfer") {
		t.Errorf("the action is %+v", o.Action)
	}
	if dwell := o.Time.Sub(o.Action.Occurred); dwell <= 0 || dwell > 20*time.Second {
		t.Errorf("dwell time is %s", dwell)
	}
	if got := c.posture(t, agent); got != "contained" {
		t.Errorf("posture is %s, want contained", got)
	}
	if n := c.commands(t, o.Action.ID); n != 1 {
		t.Errorf("the action was commanded %d times, want once", n)
	}
}

// testGoesOn has the agent use the token that was verified to be gone.
func (c *containment) testGoesOn(t *testing.T, agent string) {
	before := len(answer[outcome](t, "actions", "--config", c.up.file, "--agent", agent))
	line := fmt.Sprintf(`{"time":%q,"event.name":"tool.call","event.id":"goes-on","gen_ai.agent.id":%q,"gen_ai.conversation.id":%q,"stakeout.credential.id":%q,"gen_ai.tool.name":"payout","stakeout.effect":"money"}`,
		time.Now().UTC().Format(time.RFC3339Nano), agent, "hijacked-"+agent, "jti/of "+agent)
	if r := stakeoutWith(t, nil, []byte(line+"\n"), "ship", "--config", c.up.file, "-"); r.code != 0 {
		t.Fatalf("ship: exit status %d\n%s", r.code, r.err)
	}
	page := c.action(t, agent, "page", "verified")
	if !strings.Contains(page.Action.Reason, "goes on although it was stopped: payout with credential jti/of "+agent) || before == 0 {
		t.Errorf("the page says %q", page.Action.Reason)
	}
	eventually(t, 20*time.Second, func() error {
		if shown := must(t, "incident", "--config", c.up.file, page.Action.Incident); !strings.Contains(shown, "containment_breach: "+agent+" goes on") || !strings.Contains(shown, "timeline") {
			return fmt.Errorf("the incident does not tell of it:\n%s", shown)
		}
		return nil
	})
}

// testShared has somebody else use the token too: it is the same incident.
func (c *containment) testShared(t *testing.T, agent string) {
	line := fmt.Sprintf(`{"time":%q,"event.name":"tool.call","gen_ai.agent.id":"thief","stakeout.credential.id":%q,"gen_ai.tool.name":"payout","stakeout.effect":"money"}`,
		time.Now().UTC().Format(time.RFC3339Nano), "jti/of "+agent)
	if r := stakeoutWith(t, nil, []byte(line+"\n"), "ship", "--config", c.up.file, "-"); r.code != 0 {
		t.Fatalf("ship: exit status %d\n%s", r.code, r.err)
	}
	page := c.action(t, "thief", "page", "verified")
	eventually(t, 20*time.Second, func() error {
		all := answer[struct {
			ID     string
			Agents []string
			Open   bool
		}](t, "incidents", "--config", c.up.file, "--agent", "thief")
		if len(all) != 1 || all[0].ID != page.Action.Incident || !all[0].Open || !slices.Equal(all[0].Agents, []string{agent, "thief"}) {
			return fmt.Errorf("incidents of the thief are %+v", all)
		}
		return nil
	})
	if shown := must(t, "incident", "--config", c.up.file, page.Action.Incident); !strings.Contains(shown, "2 agents: "+agent+", thief") || !strings.Contains(shown, "about credential jti/of "+agent) {
		t.Errorf("the incident does not tell who is in it:\n%s", shown)
	}
}

// testTwoSessions has an agent found out in two sessions that share a credential, and go on
// with another one: one incident, which tells of each, and each credential is revoked once.
func (c *containment) testTwoSessions(t *testing.T, agent string) {
	use := func(session, credential, privilege string) map[string]any {
		return map[string]any{"event.name": "tool.call", "gen_ai.conversation.id": session, "stakeout.credential.id": credential, "gen_ai.tool.name": "payout",
			"stakeout.effect": "money", "stakeout.privilege": privilege, "stakeout.sensitivity": "restricted"}
	}
	one, other := c.issue(t, "of-two-sessions"), c.issue(t, "of-one-of-them")
	c.say(t, "stakeout.raw", agent, use("first", "of-two-sessions", "treasury:transfer"), use("second", "of-two-sessions", "treasury:wire"))
	first := c.action(t, agent, "revoke_token", "verified")
	found := func(want ...string) (shown string) {
		eventually(t, 20*time.Second, func() error {
			all := answer[struct{ ID string }](t, "incidents", "--config", c.up.file, "--agent", agent)
			if len(all) != 1 || all[0].ID != first.Action.Incident {
				return fmt.Errorf("incidents are %+v, want %s alone", all, first.Action.Incident)
			}
			shown = must(t, "incident", "--config", c.up.file, all[0].ID)
			for _, w := range want {
				if !strings.Contains(shown, w) {
					return fmt.Errorf("the incident does not tell %q:\n%s", w, shown)
				}
			}
			return nil
		})
		return shown
	}
	found("exercised treasury:transfer", "exercised treasury:wire", " 2 findings from ")
	revoked := func() (credentials []string) {
		for _, o := range answer[outcome](t, "actions", "--config", c.up.file, "--agent", agent) {
			if o.Action.Kind == "revoke_token" {
				credentials = append(credentials, o.Action.Target.Credential+" "+o.Status)
			}
		}
		return credentials
	}
	if got := revoked(); !slices.Equal(got, []string{"of-two-sessions verified"}) {
		t.Errorf("revocations are %q, want one of the credential of both", got)
	}
	if n := c.commands(t, first.Action.ID); n != 1 || c.provider.Active(one) {
		t.Errorf("the revocation was commanded %d times, want once; the token is active: %t", n, c.provider.Active(one))
	}
	c.say(t, "stakeout.raw", agent, use("second", "of-one-of-them", "treasury:loan"))
	eventually(t, 20*time.Second, func() error {
		if got := revoked(); !slices.Contains(got, "of-one-of-them verified") || !slices.Contains(got, "of-two-sessions verified") || len(got) != 2 {
			return fmt.Errorf("revocations are %q, want one of each credential", got)
		}
		return nil
	})
	if c.provider.Active(other) {
		t.Error("the other token is active")
	}
	found("about credential of-one-of-them", "goes on although it was stopped")
}

func (c *containment) testLies(t *testing.T, agent string) {
	c.provider.SetMode(parts.Lies)
	defer c.provider.SetMode(parts.Honest)
	_, token := c.attack(t, agent, "liar-"+agent)
	o := c.action(t, agent, "revoke_token", "unverified")
	if !strings.Contains(o.Detail, "still reports the token active") {
		t.Errorf("the detail is %q", o.Detail)
	}
	page := c.action(t, agent, "page", "verified")
	if !strings.Contains(page.Action.Reason, "unverified") || !strings.Contains(c.up.log(), "PAGE") {
		t.Errorf("the page says %q", page.Action.Reason)
	}
	if !c.provider.Active(token) {
		t.Error("a provider that lies revoked the token")
	}
	if got := c.posture(t, agent); got != "restricted" {
		t.Errorf("posture is %s, want restricted: nothing was contained", got)
	}
}

// testNameless attacks without a credential: what cannot be revoked is paged.
func (c *containment) testNameless(t *testing.T, agent string) {
	c.attack(t, agent, "")
	c.action(t, agent, "revoke_token", "held")
	c.action(t, agent, "page", "verified")
	if got := c.posture(t, agent); got != "watched" {
		t.Errorf("posture is %s, want watched", got)
	}
}
