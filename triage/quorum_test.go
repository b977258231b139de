package triage

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/triage/command"
)

// TestQuorum has an action that takes something away wait for two of three.
func TestQuorum(t *testing.T) {
	ann, bob, eve := newSigner(t), newSigner(t), newSigner(t)
	start := func(t *testing.T) (w *world, tr *Triage, id string, decide func(by *command.Signer, d command.Decision)) {
		w = newWorld(t)
		step := &w.policy.Entries[0].Ladder[0]
		step.Mode, step.Quorum, step.Approvers = command.Approve, 2, []string{ann.Public(), bob.Public(), w.nats.SigningKey(local.OperatorRole)}
		tr = w.triage()
		tr.cfg.Trust.Operators = append(tr.cfg.Trust.Operators, ann.Public(), bob.Public(), eve.Public())
		w.run(tr.Run)
		w.must(w.feed(tr, w.finding("a", 1)))
		id = w.history().outcomes[0].Action.ID
		send := w.send(w.js(local.OperatorRole))
		return w, tr, id, func(by *command.Signer, d command.Decision) {
			t.Helper()
			send(command.EncodeApproval(by, command.Approval{Action: id, Decision: d, Why: "I looked"}))
		}
	}
	t.Run("two", func(t *testing.T) {
		w, tr, _, decide := start(t)
		decide(ann, command.Approved)
		w.wantCount(tr.metrics.approvals, "counted", 1)
		decide(ann, command.Approved) // twice by the same person is once
		w.wantCount(tr.metrics.approvals, "duplicate", 1)
		decide(eve, command.Approved)
		w.wantCount(tr.metrics.approvals, "not entitled", 1)
		w.wantStatuses(command.RevokeToken, "a", "waiting waiting") // for two, and for one more
		var so []string
		for _, o := range w.history().outcomes {
			if o.Action.Kind == command.RevokeToken {
				so = append(so, fmt.Sprintf("%d of %d: %s", o.Approved, o.Quorum, o.Detail))
			}
		}
		if want := []string{"0 of 2: ", "1 of 2: approved by " + ann.Public() + ": I looked"}; !slices.Equal(so, want) {
			t.Errorf("outcomes say %q, want %q", so, want)
		}
		decide(bob, command.Approved)
		w.wantStatuses(command.RevokeToken, "a", "waiting waiting commanded")
		if got := w.wantOnce().details(command.RevokeToken, "a"); !strings.Contains(got, ann.Public()) || !strings.Contains(got, bob.Public()) {
			t.Errorf("details are %q", got)
		}
		for _, i := range w.history().latest() {
			if i.Acknowledged == 0 {
				t.Errorf("incident is %+v, want it acknowledged by the first who approved", i)
			}
		}
	})
	t.Run("one against it", func(t *testing.T) {
		w, tr, _, decide := start(t)
		decide(ann, command.Approved)
		w.wantCount(tr.metrics.approvals, "counted", 1)
		decide(bob, command.Refused)
		w.wantStatuses(command.RevokeToken, "a", "waiting waiting rejected")
		decide(w.signer(local.OperatorRole), command.Approved)
		w.wantCount(tr.metrics.approvals, "duplicate", 1)
		w.wantStatuses(command.RevokeToken, "a", "waiting waiting rejected")
	})
	t.Run("one who is taken out of the policy meanwhile", func(t *testing.T) {
		w, tr, _, decide := start(t)
		decide(ann, command.Approved)
		w.wantCount(tr.metrics.approvals, "counted", 1)
		without := w.policy
		step := without.Entries[0].Ladder[0]
		step.Approvers = slices.DeleteFunc(slices.Clone(step.Approvers), func(key string) bool { return key == ann.Public() })
		without.Entries = []Entry{{Name: "contain", Ladder: []Step{step, without.Entries[0].Ladder[1]}}}
		w.must(tr.SetPolicy(without))
		decide(bob, command.Approved)
		w.wantCount(tr.metrics.approvals, "counted", 2) // hers counts no more
		decide(ann, command.Approved)
		w.wantCount(tr.metrics.approvals, "not entitled", 1)
		decide(w.signer(local.OperatorRole), command.Approved)
		w.wantCount(tr.metrics.approvals, "approved", 1)
		w.wantStatuses(command.RevokeToken, "a", "waiting waiting commanded")
		for _, o := range w.wantOnce().outcomes {
			if o.Status == command.Commanded && strings.Contains(o.Detail, ann.Public()) {
				t.Errorf("commanded %s, and she was taken out before", o.Detail)
			}
		}
	})
	t.Run("one, and then nobody in time", func(t *testing.T) {
		w, tr, _, decide := start(t)
		decide(ann, command.Approved)
		w.wantCount(tr.metrics.approvals, "counted", 1)
		w.ahead.Store(int64(16 * time.Minute))
		w.wantStatuses(command.RevokeToken, "a", "waiting waiting expired")
		decide(bob, command.Approved)
		w.wantCount(tr.metrics.approvals, "late", 1)
		w.wantStatuses(command.RevokeToken, "a", "waiting waiting expired")
	})
}

func TestQuorumIsValidated(t *testing.T) {
	ann := newSigner(t).Public()
	f := func(quorum int, approvers []string, want string) {
		t.Helper()
		p := autoPolicy()
		p.Entries[0].Ladder[0].Mode, p.Entries[0].Ladder[0].Quorum, p.Entries[0].Ladder[0].Approvers = command.Approve, quorum, approvers
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("quorum %d of %q: %v, want %q", quorum, approvers, err, want)
		}
	}
	f(2, []string{ann}, "policies[0].ladder[0].quorum: is 2, want 0 to 1")
	f(-1, []string{ann}, "quorum: is -1")
	f(2, []string{ann, ann}, "approvers[1]: is \""+ann+"\" again")
}
