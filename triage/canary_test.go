package triage

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
	"github.com/stakeout-project/stakeout/triage/executor"
)

// TestCanaryTakesTheWayOfAllActions and leaves nothing else behind, even where
// the kill switch holds everything else.
func TestCanaryTakesTheWayOfAllActions(t *testing.T) {
	w := newWorld(t)
	w.policy.KillSwitch = true
	tr := w.triage()
	log := &decisions{ids: map[string]bool{}}
	tr.UseOperations(log.take)
	w.run(tr.Run)
	w.run(w.executor(executor.NewNote(command.Canary, w.quiet())).Run)
	sent := time.Now().Add(-time.Second)
	agent, err := command.NewCanary(w.signer(local.OperatorRole), sent)
	w.must(err)
	past := w.finding(agent, 1)
	past.Time = event.At(sent.Add(-time.Hour))
	w.must(w.feed(tr, past))
	found := w.finding(agent, 2)
	w.must(w.feed(tr, found, w.finding(agent, 3)))
	w.wantStatuses(command.Canary, agent, "commanded verified")
	h := w.wantOnce()
	if len(h.cases) != 0 || len(h.commands) != 1 || h.commands[0].ID != command.CanaryID(agent) {
		t.Errorf("a canary leaves cases %v and commands %v", h.cases, h.commands)
	}
	if got := h.commands[0].Findings; len(got) != 1 || got[0] != found.ID {
		t.Errorf("the canary answers %v, want %s, and not what lies in its past", got, found.ID)
	}
	if p := w.posture(agent); p.Set != 0 {
		t.Errorf("posture is %+v", p)
	}
	if n := testutil.CollectAndCount(tr.metrics.dwell); n != 0 {
		t.Errorf("%d dwell times", n)
	}

	// A canary may be forgotten, and nobody else.
	for _, agent := range []string{"clerk", agent} {
		w.decideOn(w.signer(local.OperatorRole), command.Approval{Action: command.BaselineID(agent), Agent: agent, Decision: command.Forget, Time: event.At(time.Now())})
	}
	w.wantCount(tr.metrics.approvals, "not entitled", 1)
	w.wantCount(tr.metrics.approvals, "forget", 1)
	if got := log.list(); len(got) != 1 || !strings.Contains(got[0], agent) || !strings.Contains(got[0], "forget") {
		t.Errorf("decisions in the log are %q, want that the canary is forgotten", got)
	}

	// Who only calls himself a canary is treated like everybody else.
	forged, err := command.NewCanary(w.signer(local.ExecutorRole), sent)
	w.must(err)
	w.must(w.feed(tr, w.finding(forged, 1)))
	w.wantStatuses(command.RevokeToken, forged, "shadowed")
	w.wantStatuses(command.Canary, forged, "")
}
