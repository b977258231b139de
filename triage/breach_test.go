package triage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// lookout is a watch of what stopped agents do, whose findings go to triage.
type lookout struct {
	*world
	watch stream.Processor
	mu    sync.Mutex
	found []detect.Finding
	trust []string // of each, the version of the list by which its source is trusted
}

func (w *world) lookout(tr *Triage) *lookout {
	w.Helper()
	l := &lookout{world: w}
	b, err := NewBreach(tr, func(_ context.Context, f detect.Finding, r *stream.Record, trust string) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.found, l.trust = append(l.found, f), append(l.trust, trust)
		told := w.record(f)
		for _, h := range r.Headers {
			if h.Key == event.SourceHeader {
				told.Headers = []stream.Header{h, {Key: TrustHeader, Value: []byte(trust)}}
			}
		}
		return feedRecords(tr, []stream.Record{told})
	}, prometheus.NewRegistry())
	w.must(err)
	w.run(b.Run)
	l.watch, err = b.Open(w.Context(), stream.Owned{})
	w.must(err)
	w.eventually(func() error {
		if live, _ := b.stopped.known(); !live {
			return errors.New("the stops are not known")
		}
		return nil
	})
	return l
}

// act has an agent do something at a time.
func (l *lookout) act(agent string, at time.Time, change func(*event.Event)) {
	l.Helper()
	l.tell("", agent, at, change)
}

// tell has a raw topic tell of it.
func (l *lookout) tell(topic, agent string, at time.Time, change func(*event.Event)) {
	l.Helper()
	ev := event.Event{ID: fmt.Sprint("e-", at.UnixNano()), Time: event.At(at), Name: event.ToolCall, Agent: agent, Session: "s-" + agent, Tool: "payout", Effect: event.Money, CredentialID: "jti-" + agent}
	if change != nil {
		change(&ev)
	}
	r := stream.Record{Topic: "stakeout.events", Time: at, Key: []byte(ev.Agent), Value: ev.AppendJSON(nil)}
	if topic != "" {
		r.Headers = []stream.Header{{Key: event.SourceHeader, Value: event.Source{Topic: topic, Offset: 7}.AppendBinary(nil)}}
	}
	l.must(l.watch.Process(l.Context(), []stream.Record{r}))
}

func (l *lookout) want(n int, what string) {
	l.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.found) != n {
		l.Fatalf("%s: %d findings, want %d: %+v", what, len(l.found), n, l.found)
	}
}

// stopsKnown waits until the watch knows of n stops.
func (l *lookout) stopsKnown(n int) {
	l.Helper()
	l.eventually(func() error {
		if _, got := l.watch.(*watcher).stopped.known(); got != n {
			return fmt.Errorf("%d stops are known, want %d", got, n)
		}
		return nil
	})
}

// TestExecutorThatLies has a trusted executor say that a token is gone that is
// not. What the agent does then gives it away.
func TestExecutorThatLies(t *testing.T) {
	w := newWorld(t)
	w.run(w.executor(w.pager()).Run)
	tr := w.triage()
	w.run(tr.Run)
	l := w.lookout(tr)
	w.must(w.feed(tr, w.finding("a", 1)))
	id := w.history().commands[0].ID
	w.send(w.js(local.ExecutorRole))(command.EncodeAck(w.signer(local.ExecutorRole), command.Ack{Action: id, Status: command.Verified, Detail: "trust me"}))
	w.wantStatuses(command.RevokeToken, "a", "commanded verified")
	l.stopsKnown(1)
	now := time.Now()

	l.act("a", now.Add(-time.Minute), nil)
	l.want(0, "before the stop")
	l.act("a", now.Add(5*time.Second), nil)
	l.want(0, "within the slack")
	late := now.Add(20 * time.Second)
	l.act("a", late, func(ev *event.Event) { ev.Name = event.Heartbeat })
	l.act("a", late, func(ev *event.Event) { ev.ErrorType = "denied" })
	l.act("b", late, nil)
	l.want(0, "a sign of life, what was denied, and somebody else")
	l.act("a", late, nil)
	l.want(1, "after the stop")
	l.act("a", late.Add(time.Second), nil)
	l.want(1, "and again")
	f := l.found[0]
	if f.Detector != BreachDetector || f.Severity != detect.Critical || !strings.Contains(f.Reason, "a goes on although it was stopped: payout with credential jti-a, which was revoked") {
		t.Errorf("finding is %+v", f)
	}
	w.wantStatuses(command.Page, "a", "commanded verified")
	h := w.wantOnce()
	last := h.cases[len(h.cases)-1]
	if last.Incident.Count != 2 || last.Disposition.Report.Verdict != "suspicious" || last.Disposition.Report.Confidence != "high" || !strings.Contains(last.Disposition.Query[0], "May a act?") {
		t.Errorf("case is %+v", last)
	}

	// Somebody else with the credential is another finding, in the same incident.
	l.act("b", late, func(ev *event.Event) { ev.CredentialID = "jti-a" })
	l.want(2, "another agent with the credential")
	if open := w.history().openIncidents(); len(open) != 1 || open[0].AgentCount != 2 {
		t.Errorf("incidents are %+v", open)
	}
	// Another process says the same again, which changes nothing.
	again := w.lookout(w.triage())
	again.stopsKnown(1)
	again.act("a", late.Add(time.Minute), nil)
	again.want(1, "another process")
	if got, first := again.found[0].ID, f.ID; got != first {
		t.Errorf("its finding is %s, want %s", got, first)
	}
	w.wantStatuses(command.Page, "a", "commanded verified")

	// An operator who frees the agent does not bring the token back.
	w.decideOn(w.signer(local.OperatorRole), command.Approval{Action: id, Decision: command.Undo, Why: "it has a new token"})
	w.wantStatuses(command.RevokeToken, "a", "commanded verified undone")
	other := w.lookout(tr)
	other.stopsKnown(1)
	other.act("a", late, func(ev *event.Event) { ev.CredentialID = "new" })
	other.want(0, "a freed agent with another token")
	other.act("a", late, nil)
	other.want(1, "a freed agent with the old one")
}

// TestSuspendedAgentActs has an agent that was suspended act past the gateway.
func TestSuspendedAgentActs(t *testing.T) {
	w := newWorld(t)
	w.run(w.executor(w.pager()).Run)
	w.policy.Budgets[command.Suspend] = Budget{Max: 10, Per: time.Hour}
	w.policy.Entries[0].Ladder[0] = Step{Kind: command.Suspend, Mode: command.Auto, Lease: time.Hour}
	tr := w.triage()
	w.run(tr.Run)
	l := w.lookout(tr)
	w.must(w.feed(tr, w.finding("a", 1)))
	w.wantStatuses(command.Suspend, "a", "commanded verified")
	l.stopsKnown(1)
	late := time.Now().Add(20 * time.Second)
	l.act("a", late.Add(2*time.Hour), func(ev *event.Event) { ev.CredentialID = "another" })
	l.want(0, "after the lease")
	l.act("a", late, func(ev *event.Event) { ev.CredentialID, ev.Session = "another", "another" })
	l.want(1, "with another token, in another session")
	w.wantStatuses(command.Page, "a", "commanded verified")
	if open := w.history().openIncidents(); len(open) != 1 || open[0].Count != 2 {
		t.Errorf("incidents are %+v", open)
	}
	w.ahead.Store(int64(2 * time.Hour))
	w.wantStatuses(command.Suspend, "a", "commanded verified commanded verified undone undone") // one for each session
}

// TestWatchWaitsUntilItKnows: an event that comes before it is known who is
// stopped is held against all stops there were.
func TestWatchWaitsUntilItKnows(t *testing.T) {
	w := newWorld(t)
	b, err := NewBreach(w.triage(), nil, prometheus.NewRegistry())
	w.must(err)
	p, err := b.Open(t.Context(), stream.Owned{})
	w.must(err)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := p.Process(ctx, []stream.Record{{Key: []byte("a")}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("processed without knowing who is stopped: %v", err)
	}
}

// TestForgedBreaches has somebody who may not speak for a stopped agent tell that it goes on,
// before it does: that stands in for nothing. Nor does a tenant that a line names make an agent one of his.
func TestForgedBreaches(t *testing.T) {
	w := newWorld(t)
	w.policy = trusting(w)
	tr := w.triage()
	w.run(tr.Run)
	l := w.lookout(tr)
	crm := w.finding("clerk", 1)
	crm.Tenant = "acme"
	w.heard(tr, "raw.payments", w.finding("payments-1", 1))
	w.heard(tr, "raw.crm.eu", crm)
	w.wantStatuses(command.Suspend, "payments-1", "commanded verified")
	w.wantStatuses(command.Suspend, "clerk", "commanded verified")
	l.stopsKnown(2)
	late, in := time.Now().Add(time.Minute), func(ev *event.Event) { ev.Tenant = "acme" }
	for _, topic := range []string{"raw.anybody", "raw.anybody", "raw.payments", "raw.payments"} {
		l.tell(topic, "payments-1", late, nil)
	}
	l.tell("raw.crm.eu", "payments-1", late, in)
	l.tell("raw.crm.eu", "clerk", late, nil)
	l.want(3, "forged and true ones of one agent, and a true one of another")
	list := w.policy.TrustVersion()
	if diff := cmp.Diff([]string{"", list, list}, l.trust); diff != "" || l.found[0].ID == l.found[1].ID || l.found[2].Tenant != "acme" {
		t.Errorf("trusted by the lists (-want +got):\n%s\nfound %+v", diff, l.found)
	}
}

// TestStoppedCredentialInOthersHands has a shipper that is trusted with the agents of one tenant
// tell that the agent of another one uses a credential that was revoked.
func TestStoppedCredentialInOthersHands(t *testing.T) {
	w := newWorld(t)
	w.policy = trusting(w)
	w.policy.Budgets[command.RevokeToken] = Budget{Max: 10, Per: time.Hour}
	w.policy.Entries[0].Ladder = []Step{{Kind: command.RevokeToken, Mode: command.Auto, AckTimeout: time.Minute}}
	w.issue("jti-clerk")
	w.executors()
	tr := w.triage()
	w.run(tr.Run)
	l := w.lookout(tr)
	crm := w.finding("clerk", 1)
	crm.Tenant = "acme"
	w.heard(tr, "raw.crm.eu", crm)
	w.wantStatuses(command.RevokeToken, "clerk", "commanded verified")
	l.stopsKnown(1)
	l.tell("raw.crm.eu", "victim", time.Now().Add(time.Minute), func(ev *event.Event) { ev.Tenant, ev.CredentialID = "acme", "jti-clerk" })
	l.want(1, "by a credential that was revoked")
	if l.trust[0] != "" {
		t.Error("an agent is taken for one of a tenant because a line says so")
	}
}

func BenchmarkWatch(b *testing.B) {
	w := newStopped()
	for n := range 1000 {
		w.set(stop{Action: fmt.Sprint(n), Agent: fmt.Sprint("agent-", n), Credential: fmt.Sprint("jti-", n)})
	}
	w.begin(true)
	p := &watcher{Breach: &Breach{stopped: w}}
	ev := event.Event{ID: "1", Time: event.At(time.Now()), Name: event.ToolCall, Agent: "clerk", Session: "s", Tool: "search", CredentialID: "jti-x", Privilege: "crm:read"}
	batch := []stream.Record{{Key: []byte("clerk"), Value: ev.AppendJSON(nil)}}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Process(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
}
