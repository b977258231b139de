package main_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestVerdictsReachDetection closes what was found of two agents with a verdict, and of
// a third one with none, and has all three do the same again and something new.
func TestVerdictsReachDetection(t *testing.T) {
	engine(t)
	p := up(t, filepath.Join(t.TempDir(), "data"), settings{})
	agents := []string{"attacked", "excused", "neither"}
	shipped := 0
	at := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	ship := func(days int, privileges ...string) {
		t.Helper()
		var b strings.Builder
		line := func(agent, session, privilege, effect string) {
			fmt.Fprintf(&b, `{"time":%q,"event.name":"tool.call","event.id":"%d","gen_ai.agent.id":%q,"gen_ai.conversation.id":%q,"gen_ai.tool.name":"crm","stakeout.privilege":%q,"stakeout.effect":%q}`+"\n",
				at.Format(time.RFC3339), shipped, agent, session, privilege, effect)
			shipped++
		}
		for i := range days * 24 {
			for _, agent := range agents {
				line(agent, fmt.Sprint("day-", at.YearDay()), "crm:read", "read")
				if i%5 == 0 {
					line(agent, fmt.Sprint("day-", at.YearDay()), "mail:send", "send")
				}
			}
			at = at.Add(time.Hour)
		}
		for _, privilege := range privileges {
			for _, agent := range agents {
				line(agent, privilege+at.Format(time.DateOnly), privilege, "share")
			}
		}
		if r := stakeoutWith(t, nil, []byte(b.String()), "ship", "--config", p.file, "-"); r.code != 0 {
			t.Fatalf("ship: exit status %d\n%s", r.code, r.err)
		}
		p.judged(shipped)
	}
	found := func() map[string]string {
		all := map[string]string{}
		for _, agent := range agents {
			for _, f := range answer[struct{ Detector, Reason string }](t, "findings", "--config", p.file, "--agent", agent) {
				_, what, _ := strings.Cut(f.Reason, "exercised ")
				all[agent] = strings.TrimSuffix(what, " for the first time") + " " + all[agent] // the latest comes first
			}
		}
		return all
	}
	ship(14, "crm:export")
	if diff := cmp.Diff(map[string]string{"attacked": "crm:export ", "excused": "crm:export ", "neither": "crm:export "}, found()); diff != "" {
		t.Fatalf("found (-want +got):\n%s", diff)
	}
	close := func(agent, verdict string) {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			open := answer[struct{ ID string }](t, "incidents", "--config", p.file, "--open", "--agent", agent)
			if len(open) != 1 {
				return fmt.Errorf("%s has the open incidents %v", agent, open)
			}
			must(t, "close", open[0].ID, "--config", p.file, "--verdict", verdict, "--suppress", "0", "--why", "looked at")
			return nil
		})
	}
	close("attacked", "true_positive")
	close("excused", "false_positive")
	eventually(t, 20*time.Second, func() error { // decisions are records among the events
		if n := p.number("SELECT count() FROM stakeout.events FINAL WHERE name = 'config.change'"); n != 2 {
			return fmt.Errorf("%d decisions are stored, want 2", n)
		}
		return nil
	})
	ship(6, "crm:export", "crm:merge")
	want := map[string]string{
		"attacked": "crm:export crm:export crm:merge ", // what was an attack is reported when it comes again
		"excused":  "crm:export ",                      // whose detector rests
		"neither":  "crm:export crm:merge ",
	}
	if diff := cmp.Diff(want, found()); diff != "" {
		t.Errorf("found after the verdicts (-want +got):\n%s", diff)
	}
	if audited := must(t, "audit", "verify", "--config", p.file); !strings.Contains(audited, "ACKS") {
		t.Errorf("the audit tells %q, want the stream that decisions are in", audited)
	}
	p.stop()
}
