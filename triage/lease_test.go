package triage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// leased suspends an agent for a while, and nothing else.
func leased(lease time.Duration) Policy {
	p := autoPolicy()
	p.Budgets[command.Suspend] = Budget{Max: 100, Per: time.Hour}
	p.Entries[0].Ladder = []Step{{Kind: command.Suspend, Mode: command.Auto, Lease: lease}}
	return p
}

func (w *world) wantStanding(agent string, want command.Standing) {
	w.Helper()
	w.eventually(func() error {
		if p := w.posture(agent); p.Standing != want {
			return fmt.Errorf("posture of %s is %+v, want %s", agent, p, want)
		}
		return nil
	})
}

func TestLeaseEnds(t *testing.T) {
	w := newWorld(t)
	w.policy = leased(time.Minute)
	tr := w.triage()
	w.run(tr.Run)
	w.must(w.feed(tr, w.finding("a", 1)))
	w.wantStanding("a", command.Contained)
	if p := w.posture("a"); len(p.Holds) != 1 || p.Expires.Sub(p.Since).Round(time.Second) != time.Minute || p.Holds[0].Expires != p.Expires {
		t.Errorf("posture is %+v, want one hold of a minute", p)
	}
	w.wantStatuses(command.Suspend, "a", "commanded verified")
	w.ahead.Store(int64(61 * time.Second))
	w.wantStatuses(command.Suspend, "a", "commanded verified undone")
	w.wantStanding("a", command.Normal)
	if got := w.history().details(command.Suspend, "a"); !strings.Contains(got, "its lease of 1m0s has ended") {
		t.Errorf("details are %q", got)
	}

	// The same incident goes on: it is suspended again, by an action of its own.
	w.must(w.feed(tr, w.finding("a", 2)))
	w.wantStanding("a", command.Contained)
	w.wantStatuses(command.Suspend, "a", "commanded verified undone commanded verified")
	w.ahead.Store(int64(3 * time.Minute))
	w.wantStanding("a", command.Normal)
	w.wantOnce()
}

func (w *world) undo(by *command.Signer, action string) {
	w.Helper()
	w.send(w.js(local.OperatorRole))(command.EncodeApproval(by, command.Approval{Action: action, Decision: command.Undo, Why: "the export was planned"}))
}

// only returns the one action of a kind against an agent.
func (w *world) only(k command.Kind, agent string) command.Action {
	w.Helper()
	for _, o := range w.history().outcomes {
		if o.Action.Kind == k && o.Action.Target.Agent == agent {
			return o.Action
		}
	}
	w.Fatalf("no %s of %s", k, agent)
	return command.Action{}
}

func TestOperatorUndoes(t *testing.T) {
	w := newWorld(t)
	w.policy = leased(0)
	tr := w.triage()
	w.run(tr.Run)
	w.must(w.feed(tr, w.finding("a", 1)))
	id := w.only(command.Suspend, "a").ID
	w.undo(w.signer(local.ExecutorRole), id) // is no operator
	w.wantCount(tr.metrics.approvals, "refused", 1)
	w.wantStanding("a", command.Contained)

	w.undo(w.signer(local.OperatorRole), id)
	w.wantStatuses(command.Suspend, "a", "commanded verified undone")
	w.wantStanding("a", command.Normal)
	if got := w.history().details(command.Suspend, "a"); !strings.Contains(got, "by "+w.nats.SigningKey(local.OperatorRole)+": the export was planned") {
		t.Errorf("details are %q", got)
	}
	w.ahead.Store(int64(11 * time.Minute)) // past the window in which NATS drops the same message
	w.must(w.feed(tr, w.finding("a", 2)))
	w.wantStatuses(command.Suspend, "a", "commanded verified undone held")
	w.wantStanding("a", command.Watched)
	w.eventually(func() error {
		if got := w.history().reasons(command.Page); !strings.Contains(got, "undid it") {
			return fmt.Errorf("pages say %q", got)
		}
		return nil
	})
}

func TestUndoIsRefused(t *testing.T) {
	f := func(want string, change func(*record), operator string) {
		t.Helper()
		r := record{Action: command.Action{Kind: command.Suspend}, Ladder: []Step{{Kind: command.Suspend}}}
		now := time.Now()
		r.move(now, command.Commanded, "", "")
		change(&r)
		n := len(r.Log)
		if got, changed := r.undo(now, command.Approval{Decision: command.Undo}, operator); got != want || changed != (want == "undone") || changed != (len(r.Log) > n) {
			t.Errorf("undo is %q (%t), want %q", got, changed, want)
		}
	}
	f("undone", func(*record) {}, "op")
	f("duplicate", func(r *record) { r.move(time.Now(), command.Undone, "", "") }, "op")
	f("not entitled", func(r *record) { r.Ladder[0].Approvers = []string{"other"} }, "op")
	f("undone", func(r *record) { r.Ladder[0].Approvers = []string{"op"} }, "op")
	f("nothing to undo", func(r *record) { r.Action.Kind = command.Page }, "op")
	f("nothing to undo", func(r *record) { r.Log = nil; r.move(time.Now(), command.Held, "", "") }, "op")
}

// Two incidents hold the same agent; the end of one frees it only as far as the other lets it.
func TestOneHoldDoesNotFreeAnother(t *testing.T) {
	w := newWorld(t)
	w.policy = leased(0)
	w.policy.Budgets[command.Restrict] = Budget{Max: 10, Per: time.Hour}
	other := Entry{Name: "restrict", Match: Match{Threats: []string{"loop"}}, Ladder: []Step{{Kind: command.Restrict, Mode: command.Auto, Lease: time.Minute}}}
	w.policy.Entries = append([]Entry{other}, w.policy.Entries...)
	tr := w.triage()
	w.run(tr.Run)
	loop := w.finding("a", 2)
	loop.Threat, loop.Session = "loop", "other"
	w.must(w.feed(tr, w.finding("a", 1), loop))
	w.wantStanding("a", command.Contained)
	if n := len(w.posture("a").Holds); n != 2 {
		t.Errorf("%d holds, want 2", n)
	}
	w.undo(w.signer(local.OperatorRole), w.only(command.Suspend, "a").ID)
	w.wantStanding("a", command.Restricted)
	w.ahead.Store(int64(2 * time.Minute))
	w.wantStanding("a", command.Normal)
}

// A token stays revoked; only the posture is released, and the record says so.
func TestRevocationHasNoUndo(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	token := w.issue("jti-a")
	w.must(w.feed(tr, w.finding("a", 1)))
	w.wantStatuses(command.RevokeToken, "a", "commanded verified")
	w.wantStanding("a", command.Contained)
	w.undo(w.signer(local.OperatorRole), w.only(command.RevokeToken, "a").ID)
	w.wantStanding("a", command.Normal)
	if w.idp.Active(token) {
		t.Error("the token is active again")
	}
	w.wantStatuses(command.RevokeToken, "a", "commanded verified undone")
	if got := w.history().details(command.RevokeToken, "a"); !strings.Contains(got, "the token stays revoked") {
		t.Errorf("details are %q", got)
	}
}

func TestStepsBesideTheLadder(t *testing.T) {
	w := newWorld(t)
	w.policy.Cooldown = time.Hour
	w.policy.Budgets[command.Suspend] = Budget{Max: 10, Per: time.Hour}
	w.policy.Entries[0].Also = []Step{{Kind: command.Suspend, Mode: command.Auto, Lease: time.Minute}, {Kind: command.Page, Mode: command.Auto}}
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	w.issue("jti-a")
	w.must(w.feed(tr, w.finding("a", 1)))
	w.wantStatuses(command.RevokeToken, "a", "commanded verified")
	w.wantStatuses(command.Suspend, "a", "commanded verified")
	w.wantStatuses(command.Page, "a", "commanded verified")
	w.ahead.Store(int64(2 * time.Minute))
	w.wantStatuses(command.Suspend, "a", "commanded verified undone")
	w.wantStanding("a", command.Contained) // the revocation holds it
	w.wantOnce()
}

// TestCrashInALease ends the work at every point of a lease's life.
func TestCrashInALease(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.policy = leased(time.Minute)
		do := func(tr *Triage) error {
			if err := w.feed(tr, w.finding("a", 1)); err != nil {
				return err
			}
			w.ahead.Store(int64(2 * time.Minute))
			return tr.ring(context.Background(), w.only(command.Suspend, "a").ID)
		}
		tr := w.triage()
		crashAfter(tr, n)
		err := do(tr)
		tr.Close()
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		w.must(do(w.triage()))
		if got := w.wantOnce().statuses(command.Suspend, "a"); got != "commanded verified undone" {
			t.Errorf("after %v: %s", err, got)
		}
		if p := w.posture("a"); p.Standing != command.Normal || len(p.Holds) != 0 {
			t.Errorf("after %v: posture is %+v", err, p)
		}
		if t.Failed() || err == nil {
			t.Logf("%d points", n-1)
			return
		}
		w.nats.Close()
	}
}

func TestHoldsAreBounded(t *testing.T) {
	now := time.Now()
	var p command.Posture
	for i := range 3 * command.MaxHolds {
		s := command.Watched
		if i == 7 {
			s = command.Contained
		}
		p.Holds = append(p.Holds, command.Hold{Action: fmt.Sprint(i), Standing: s, Expires: event.At(now.Add(time.Duration(i) * time.Minute))})
	}
	weigh(&p, now)
	if len(p.Holds) != command.MaxHolds || p.Standing != command.Contained || p.Holds[0].Action != "7" || p.Holds[1].Action != fmt.Sprint(3*command.MaxHolds-1) {
		t.Errorf("posture is %+v", p)
	}
	weigh(&p, now.Add(24*time.Hour))
	if len(p.Holds) != 0 || p.Standing != command.Normal {
		t.Errorf("a day later the posture is %+v", p)
	}
}
