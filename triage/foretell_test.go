package triage

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

func TestForetell(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	waiting := record{Action: command.Action{ID: "x", Expires: event.At(now.Add(time.Hour))}, Ladder: []Step{{Approvers: []string{"ann", "bo"}, Quorum: 2}}, Status: command.Waiting}
	voted, done := waiting, waiting
	voted.Votes = []vote{{By: "ann"}}
	done.Status, done.Log = command.Verified, []change{{Status: command.Waiting}, {Status: command.Commanded}, {Status: command.Verified}}
	f := func(r record, d command.Decision, operator string, at time.Time, want string) {
		t.Helper()
		value, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		err = Foretell(value, command.Approval{Action: "x", Decision: d}, operator, at)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s by %s of what is %s: %v, want %q", d, operator, r.Status, err, want)
		}
	}
	f(waiting, command.Approved, "ann", now, "")
	f(waiting, command.Refused, "bo", now, "")
	f(voted, command.Approved, "bo", now, "")
	f(done, command.Undo, "ann", now, "")
	f(waiting, command.Approved, "eve", now, "eve is no approver of this action: want ann or bo")
	f(waiting, command.Approved, "ann", now.Add(2*time.Hour), "too late")
	f(voted, command.Approved, "ann", now, "decided already")
	f(done, command.Approved, "ann", now, "decided already: the action is verified")
	f(waiting, command.Undo, "ann", now, "nothing to undo")
	if err := Foretell([]byte("{"), command.Approval{Action: "x"}, "ann", now); err == nil {
		t.Error("a record that cannot be read: no error")
	}
}
