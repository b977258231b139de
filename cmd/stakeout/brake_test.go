package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// brakes pulls a brake of a running pipeline, looks at it, and releases it.
func brakes(t *testing.T, c *containment) {
	t.Helper()
	type brake struct {
		Kind, Tenant, Why, Operator string
		On                          bool
	}
	want := func(n int) []brake {
		t.Helper()
		var all []brake
		eventually(t, 20*time.Second, func() error {
			if all = answer[brake](t, "brake", "--config", c.up.file); len(all) != n {
				return fmt.Errorf("brakes are %+v, want %d", all, n)
			}
			return nil
		})
		return all
	}
	want(0)
	must(t, "brake", "pull", "--config", c.up.file, "--kind", "revoke_token", "--why", "a bad deployment")
	if b := want(1)[0]; b.Kind != "revoke_token" || b.Tenant != "" || b.Why != "a bad deployment" || b.Operator != c.up.running.Operator.Approver || !b.On {
		t.Errorf("brake is %+v", b)
	}
	if out := must(t, "brake", "--config", c.up.file); !strings.Contains(out, "revoke_token  all") {
		t.Errorf("brake prints\n%s", out)
	}
	must(t, "brake", "release", "--config", c.up.file, "--kind", "revoke_token", "--why", "rolled back")
	want(0)
	if out := must(t, "canary", "--once", "--config", c.up.file); !strings.Contains(out, "came through") {
		t.Errorf("a canary: %s", out)
	}
	if r := stakeout(t, "brake", "pull", "--config", c.up.file, "--kind", "page", "--why", "quiet"); r.code == 0 || !strings.Contains(r.err, "takes nothing away") {
		t.Errorf("a brake on pages: %d, %s", r.code, r.err)
	}
	if r := stakeout(t, "brake", "pull", "--config", c.up.file); r.code == 0 || !strings.Contains(r.err, "why") {
		t.Errorf("a brake for no reason: %d, %s", r.code, r.err)
	}
}

// risks looks at the risk of an agent of which something was found.
func risks(t *testing.T, c *containment, agent string) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		all := answer[struct {
			Risk *struct {
				Score float64
				Level string
			}
		}](t, "agents", "--config", c.up.file, "--agent", agent)
		if len(all) != 1 || all[0].Risk == nil || all[0].Risk.Score < 5 || all[0].Risk.Level == "" {
			return fmt.Errorf("agents are %+v", all)
		}
		return nil
	})
}
