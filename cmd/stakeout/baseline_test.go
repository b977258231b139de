package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestBaselineDecisions has an operator decide about baselines of a running pipeline.
func TestBaselineDecisions(t *testing.T) {
	engine(t)
	p := up(t, t.TempDir(), settings{})
	fleet := simulated(t, 4, 14, "--seed", "5", "--threats", "none")
	p.ship(fleet.file)
	p.judged(fleet.lines)

	state := func(agent string) string {
		rows := answer[struct{ State string }](t, "agents", "--config", p.file, "--agent", agent)
		if len(rows) != 1 {
			return ""
		}
		return rows[0].State
	}
	known := func(want ...string) (agents []string) {
		eventually(t, 20*time.Second, func() error {
			agents = nil
			for _, s := range want {
				for _, a := range answer[struct{ Agent string }](t, "agents", "--config", p.file, "--state", s) {
					agents = append(agents, a.Agent)
				}
			}
			if len(agents) == 0 {
				return fmt.Errorf("no agent is %s", strings.Join(want, " or "))
			}
			return nil
		})
		return agents
	}
	agent := known("active", "stale")[0]
	decide := func(verb, want string) {
		t.Helper()
		must(t, "agents", verb, agent, "--config", p.file, "--why", "new duties")
		eventually(t, 20*time.Second, func() error {
			if got := state(agent); !strings.Contains(want, got) || got == "" {
				return fmt.Errorf("after %s the baseline is %q, want %s", verb, got, want)
			}
			return nil
		})
	}
	decide("reset", "reset")
	// The agent goes on; one event later a person vouches for what is known of it.
	line := fmt.Sprintf(`{"time":%q,"event.name":"tool.call","gen_ai.agent.id":%q,"gen_ai.tool.name":"crm_lookup","stakeout.privilege":"crm:read","stakeout.effect":"read"}`+"\n",
		time.Now().UTC().Format(time.RFC3339Nano), agent)
	if r := stakeoutWith(t, nil, []byte(line), "ship", "--config", p.file, "-"); r.code != 0 {
		t.Fatalf("ship: %s", r.err)
	}
	p.judged(fleet.lines + 1)
	decide("confirm", "active")
	decide("reanchor", "active")

	if audited := must(t, "audit", "verify", "--config", p.file); !strings.Contains(audited, "ACKS") {
		t.Errorf("the audit tells %q, want the stream that decisions are in", audited)
	}
	if r := stakeout(t, "agents", "reset", agent, "--config", p.file); r.code == 0 || !strings.Contains(r.err, "why") {
		t.Errorf("a reset without a reason: exit status %d, %q", r.code, r.err)
	}
	p.stop()
}
