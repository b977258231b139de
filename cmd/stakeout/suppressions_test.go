package main_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// suppressions has an agent do again what was a false positive, and looks
// whether that is kept, counted and not acted on, until an operator says so.
func suppressions(t *testing.T, c *containment, agent string) {
	type suppression struct {
		ID, Agent, Detector, Owner, Why string
		Findings                        int
	}
	list := func(args ...string) []suppression {
		return answer[suppression](t, append([]string{"suppressions", "--config", c.up.file}, args...)...)
	}
	var all []suppression
	eventually(t, 20*time.Second, func() error {
		if all = list(); len(all) == 0 {
			return errors.New("the verdict suppresses nothing")
		}
		return nil
	})
	for _, s := range all {
		if s.Agent != agent || s.Owner != c.up.running.Operator.Approver || s.Why != "the payout was planned" {
			t.Errorf("suppression is %+v", s)
		}
	}
	before := len(answer[outcome](t, "actions", "--config", c.up.file, "--agent", agent, "--limit", "1000"))
	line := fmt.Sprintf(`{"time":%q,"event.name":"tool.call","event.id":"again","gen_ai.agent.id":%q,"gen_ai.conversation.id":"another","stakeout.credential.id":"jti-2","gen_ai.tool.name":"wire","stakeout.effect":"money","stakeout.privilege":"treasury:wire","stakeout.sensitivity":"restricted"}`,
		time.Now().UTC().Format(time.RFC3339Nano), agent)
	if r := stakeoutWith(t, nil, []byte(line+"\n"), "ship", "--config", c.up.file, "-"); r.code != 0 {
		t.Fatalf("ship: exit status %d\n%s", r.code, r.err)
	}
	// An agent that was stopped acts: that is no false positive, and is acted on.
	eventually(t, 20*time.Second, func() error {
		for _, o := range answer[outcome](t, "actions", "--config", c.up.file, "--agent", agent, "--limit", "1000") {
			if o.Action.Kind == "page" && strings.Contains(o.Action.Reason, "goes on although it was stopped") {
				return nil
			}
		}
		return fmt.Errorf("%d actions as before, and no page", before)
	})
	eventually(t, 20*time.Second, func() error {
		for _, s := range list() {
			if s.Findings > 0 {
				return nil
			}
		}
		return fmt.Errorf("nothing fell under %+v", list())
	})
	must(t, "suppressions", "remove", "--config", c.up.file, all[0].ID, "--why", "it was real after all")
	eventually(t, 20*time.Second, func() error {
		if n := len(list()); n != len(all)-1 {
			return fmt.Errorf("%d suppressions, want %d", n, len(all)-1)
		}
		return nil
	})
	if n := len(list("--all")); n != len(all) {
		t.Errorf("%d suppressions there ever were, want %d", n, len(all))
	}
}
