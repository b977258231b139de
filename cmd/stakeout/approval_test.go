package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
)

// approving is a policy under which a person decides, about one agent at once.
func approving(t *testing.T, approver, hasty string) (file string) {
	t.Helper()
	if approver == "" {
		t.Fatal("running.json does not tell the key that the operator's approvals are signed with")
	}
	file = filepath.Join(t.TempDir(), "response.yaml")
	check(t, os.WriteFile(file, fmt.Appendf(nil, `
budgets:
  revoke_token: {max: 5, per: 1h}
policies:
  - name: ask at once
    match: {min_severity: medium, agents: [%s]}
    ladder:
      - {kind: revoke_token, mode: approve, approvers: [%s], expires: 1s}
  - name: ask
    match: {min_severity: medium}
    ladder:
      - {kind: revoke_token, mode: approve, approvers: [%[2]s], expires: 10m}
`, hasty, approver), 0o600))
	return file
}

func (c *containment) testApproved(t *testing.T, agent string) {
	_, token := c.attack(t, agent, "approved-"+agent)
	o := c.action(t, agent, "revoke_token", "waiting")
	c.action(t, agent, "page", "verified") // somebody has to know that it waits
	if !c.provider.Active(token) || c.commands(t, o.Action.ID) != 0 {
		t.Error("something was done before it was approved")
	}
	if got := c.posture(t, agent); got != "watched" {
		t.Errorf("posture of an agent that waits is %s, want watched", got)
	}
	must(t, "approve", "--config", c.up.file, o.Action.ID, "--why", "nobody planned this")
	c.action(t, agent, "revoke_token", "verified")
	if c.provider.Active(token) {
		t.Error("the token is active, although its revocation was verified")
	}
	if n := c.commands(t, o.Action.ID); n != 1 {
		t.Errorf("the action was commanded %d times, want once", n)
	}
	if got := c.posture(t, agent); got != "contained" {
		t.Errorf("posture is %s, want contained", got)
	}
	steps := c.up.rows(fmt.Sprintf("SELECT status FROM stakeout.action_history FINAL WHERE id = '%s' ORDER BY time", o.Action.ID))
	if !slices.Equal(steps, []string{"waiting", "commanded", "verified"}) {
		t.Errorf("the action went through %q", steps)
	}
}

func (c *containment) testRejected(t *testing.T, agent string) {
	_, token := c.attack(t, agent, "rejected-"+agent)
	o := c.action(t, agent, "revoke_token", "waiting")
	stranger := filepath.Join(t.TempDir(), "stranger")
	pair, err := nkeys.CreateAccount()
	check(t, err)
	seed, err := pair.Seed()
	check(t, err)
	check(t, os.WriteFile(stranger, seed, 0o600))
	uncounted(t, "no approver of this action", "approve", "--config", c.up.file, "--set", "operator.signing_key="+stranger, o.Action.ID)
	eventually(t, 10*time.Second, func() error {
		if n := c.up.metric("stakeout_triage_approvals_total", `result="refused"`); n != 1 {
			return fmt.Errorf("%d decisions were refused, want that of the stranger", n)
		}
		return nil
	})
	c.action(t, agent, "revoke_token", "waiting")
	must(t, "reject", "--config", c.up.file, o.Action.ID, "--why", "the payout was planned")
	o = c.action(t, agent, "revoke_token", "rejected")
	if !strings.Contains(o.Detail, "the payout was planned") {
		t.Errorf("the detail is %q, want the reason", o.Detail)
	}
	uncounted(t, "decided already: the action is rejected", "approve", "--config", c.up.file, o.Action.ID)
	eventually(t, 10*time.Second, func() error {
		if n := c.up.metric("stakeout_triage_approvals_total", `result="duplicate"`); n != 1 {
			return fmt.Errorf("%d decisions came too late, want 1", n)
		}
		return nil
	})
	if !c.provider.Active(token) || c.commands(t, o.Action.ID) != 0 {
		t.Error("something was done although it was rejected")
	}
}

// testExpired has nobody decide in time: what comes later changes nothing.
func (c *containment) testExpired(t *testing.T, agent string) {
	_, token := c.attack(t, agent, "expired-"+agent)
	o := c.action(t, agent, "revoke_token", "expired")
	eventually(t, 20*time.Second, func() error {
		for _, p := range c.outcomes(t, agent) {
			if p.Action.Kind == "page" && strings.Contains(p.Action.Reason, "is expired") {
				return nil
			}
		}
		return errors.New("nobody is paged because nobody decided")
	})
	uncounted(t, "too late: the action is expired", "approve", "--config", c.up.file, o.Action.ID)
	eventually(t, 20*time.Second, func() error {
		if n := c.up.metric("stakeout_triage_approvals_total", `result="late"`); n != 1 {
			return fmt.Errorf("%d decisions were late, want 1", n)
		}
		return nil
	})
	c.action(t, agent, "revoke_token", "expired")
	if !c.provider.Active(token) || c.commands(t, o.Action.ID) != 0 {
		t.Error("something was done although nobody approved it in time")
	}
}

// uncounted sends a decision that does not count, and wants to be told why.
func uncounted(t *testing.T, why string, args ...string) {
	t.Helper()
	if r := stakeout(t, args...); r.code != 1 || !strings.Contains(r.err, why) {
		t.Errorf("stakeout %s: exit status %d, %s; want 1, and that %s", strings.Join(args, " "), r.code, r.err, why)
	}
}
