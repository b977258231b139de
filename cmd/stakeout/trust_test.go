package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// public is a raw topic that anybody may write.
const public = "stakeout.raw.public"

// trusting is a policy that revokes by itself on the word of one raw topic alone.
func trusting(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "response.yaml")
	check(t, os.WriteFile(file, []byte(`
auto_requires: trusted_telemetry
trusted_telemetry: [{topics: [stakeout.raw]}]
budgets:
  revoke_token: {max: 50, per: 1h}
policies:
  - name: stop
    match: {min_severity: medium}
    ladder:
      - {kind: revoke_token, mode: auto, ack_timeout: 10s}
`), 0o600))
	return file
}

// issue has the provider issue a token that the executor can revoke.
func (c *containment) issue(t *testing.T, credential string) (token string) {
	t.Helper()
	token = c.provider.Issue(credential)
	check(t, os.WriteFile(filepath.Join(c.vault, command.Token(credential)), []byte(token), 0o600))
	return token
}

// say ships lines about an agent by a raw topic, each a second after the one before.
func (c *containment) say(t *testing.T, topic, agent string, lines ...map[string]any) {
	t.Helper()
	var all []byte
	for i, l := range lines {
		l["gen_ai.agent.id"] = agent
		l["time"] = time.Now().Add(time.Duration(i-len(lines)) * time.Second).UTC().Format(time.RFC3339Nano)
		line, err := json.Marshal(l)
		check(t, err)
		all = append(append(all, line...), '\n')
	}
	if r := stakeoutWith(t, nil, all, "ship", "--config", c.up.file, "--set", "topics.raw="+topic, "-"); r.code != 0 {
		t.Fatalf("ship: exit status %d\n%s", r.code, r.err)
	}
}

// poison is how untrusted content comes into a memory record.
func poison(session, record string) []map[string]any {
	return []map[string]any{
		{"event.name": "tool.result", "gen_ai.conversation.id": session, "gen_ai.tool.name": "read_mail", "stakeout.trust": "untrusted"},
		{"event.name": "memory.write", "gen_ai.conversation.id": session, "gen_ai.memory.store.id": "notes", "gen_ai.memory.record.id": record, "stakeout.origin": "untrusted"},
	}
}

// recall is a call on the word of a memory record.
func recall(session, record, credential string) []map[string]any {
	return []map[string]any{
		{"event.name": "memory.read", "gen_ai.conversation.id": session, "gen_ai.memory.store.id": "notes", "gen_ai.memory.record.id": record, "stakeout.credential.id": credential},
		{"event.name": "tool.call", "gen_ai.conversation.id": session, "gen_ai.tool.name": "post_" + record, "stakeout.effect": "send",
			"stakeout.arg.origins": map[string]string{"text": "memory"}, "stakeout.credential.id": credential},
	}
}

// testSeeded has somebody lay evidence against an agent by a topic that may not speak for
// it. What the agent does by its own topic then is judged as if that had never been said,
// and found where its own topic says the same.
func (c *containment) testSeeded(t *testing.T, agent string) {
	victim, own := c.issue(t, "of-the-victim"), c.issue(t, "of-the-poisoned")
	c.say(t, public, agent, poison("forged", "r1")...)
	c.up.judged(2)
	c.say(t, "stakeout.raw", agent, recall("mine-1", "r1", "of-the-victim")...)
	c.up.judged(4)
	c.say(t, "stakeout.raw", agent, append(poison("mine-2", "r2"), recall("mine-3", "r2", "of-the-poisoned")...)...)
	c.up.judged(8)
	o := c.action(t, agent, "revoke_token", "verified")
	if c.provider.Active(own) || o.Action.Target.Credential != "of-the-poisoned" {
		t.Errorf("what the agent's own topic tells has %s revoked, its token is active: %t", o.Action.Target.Credential, c.provider.Active(own))
	}
	if !c.provider.Active(victim) {
		t.Error("evidence that somebody else laid has had the agent's token revoked")
	}
	for _, o := range answer[outcome](t, "actions", "--config", c.up.file, "--agent", agent) {
		if o.Action.Kind == "revoke_token" && o.Action.Target.Credential == "of-the-victim" && !slices.Contains([]string{"held", "waiting"}, o.Status) {
			t.Errorf("on evidence that somebody else laid the revocation is %s: %s", o.Status, o.Detail)
		}
	}
}

// testAccused has somebody tell by such a topic what the agent never did: it is found,
// held back and paged. Who does the same himself is stopped all the same.
func (c *containment) testAccused(t *testing.T, agent string) {
	payout := func(session string) map[string]any {
		return map[string]any{"event.name": "tool.call", "gen_ai.conversation.id": session, "stakeout.credential.id": "of-the-accused", "gen_ai.tool.name": "payout",
			"stakeout.effect": "money", "stakeout.privilege": "treasury:transfer", "stakeout.sensitivity": "restricted"}
	}
	token := c.issue(t, "of-the-accused")
	c.say(t, public, agent, payout("said"))
	o := c.action(t, agent, "revoke_token", "held")
	if !strings.Contains(o.Detail, `the event came from "`+public+`"`) {
		t.Errorf("it is held back because %q", o.Detail)
	}
	c.action(t, agent, "page", "verified")
	if !c.provider.Active(token) {
		t.Error("the word of anybody has had the token revoked")
	}
	if got := c.posture(t, agent); got != "watched" {
		t.Errorf("posture is %s, want watched", got)
	}
	told := agent + " (untrusted)"
	eventually(t, 30*time.Second, func() error {
		if len(answer[finding](t, "agents", "--config", c.up.file, "--agent", told)) == 0 {
			return fmt.Errorf("%s is not shown", told)
		}
		return nil
	})
	if r := stakeout(t, "agents", "reset", told, "--config", c.up.file, "--why", "it never did that"); r.code != 1 || !strings.Contains(r.err, "`stakeout agents reset "+agent+"`") {
		t.Errorf("to reset %s: exit status %d, %s; want to be told what reaches it", told, r.code, r.err)
	}
	c.say(t, "stakeout.raw", agent, payout("done"))
	c.action(t, agent, "revoke_token", "verified")
	if c.provider.Active(token) {
		t.Error("who was accused before is not stopped for what it does")
	}
}
