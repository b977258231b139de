package posture

import (
	"testing"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

func TestPermits(t *testing.T) {
	f := func(want string, c Call, limits ...command.Limits) {
		t.Helper()
		d := Decision{Standing: command.Watched, Limits: limits}
		if ok, why := d.Permits(c); ok != (want == "") || why != want {
			t.Errorf("%+v under %+v: %t, %q; want %q", c, limits, ok, why, want)
		}
	}
	mail := Call{Effect: event.Send, Tool: "send_mail", Scopes: []string{"mail:send"}, Session: "s1"}
	f("", mail)
	f("tool is blocked", mail, command.Limits{Tools: []string{"send_*"}})
	f("", mail, command.Limits{Tools: []string{"crm_*"}})
	f("tool is not named, and some are blocked", Call{Effect: event.Send}, command.Limits{Tools: []string{"crm_*"}})
	f("", Call{Effect: event.Read}, command.Limits{Tools: []string{"crm_*"}})
	f("scope is taken away", mail, command.Limits{Scopes: []string{"mail:read"}})
	f("", mail, command.Limits{Scopes: []string{"mail:*"}})
	f("scope is taken away", mail, command.Limits{Scopes: []string{"mail:*"}}, command.Limits{Scopes: []string{"crm:*"}})
	f("scope is not named, and not all are left", Call{Effect: event.Write}, command.Limits{Scopes: []string{"mail:*"}})
	f("session is terminated", Call{Effect: event.Read, Session: "s1"}, command.Limits{Session: "s1"})
	f("", Call{Effect: event.Read, Session: "s2"}, command.Limits{Session: "s1"})
	f("a person has to approve it", mail, command.Limits{Approval: true})
	f("", Call{Effect: event.Read}, command.Limits{Approval: true})
	f("", Call{Effect: event.Send, Approved: true}, command.Limits{Approval: true})
	if ok, why := (Decision{Standing: command.Contained}).Permits(Call{Effect: event.Read, Approved: true}); ok || why != "agent is contained" {
		t.Errorf("a contained agent reads: %q", why)
	}
}
