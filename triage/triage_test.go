package triage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

func TestFindingRevokesToken(t *testing.T) {
	w := newWorld(t)
	token := w.issue("jti-mail agent")
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	w.must(w.feed(tr, w.finding("mail agent", 1), w.finding("mail agent", 2)))
	w.wantStatuses(command.RevokeToken, "mail agent", "commanded verified")
	h := w.wantOnce()
	if len(h.commands) != 1 {
		t.Errorf("%d commands, want 1: %+v", len(h.commands), h.commands)
	}
	if w.idp.Active(token) {
		t.Error("the token is still active")
	}
	if n := w.idp.Revocations(); n != 1 {
		t.Errorf("%d revocations, want 1", n)
	}
	w.eventually(func() error {
		if p := w.posture("mail agent"); p.Standing != command.Contained || p.Incident != h.commands[0].Incident || p.Expires <= p.Since {
			return fmt.Errorf("posture is %+v", p)
		}
		return nil
	})
	for result, want := range map[string]float64{"new": 2, "again": 0, "refused": 0} {
		if got := testutil.ToFloat64(tr.metrics.findings.WithLabelValues(result)); got != want {
			t.Errorf("%v findings are %s, want %v", got, result, want)
		}
	}
	if got := testutil.CollectAndCount(tr.metrics.dwell); got != 2 {
		t.Errorf("%d dwell times, want commanded and verified", got)
	}
	w.eventually(func() error { // nothing waits any more
		if age := tr.timers.oldest(tr.now()); age != 0 {
			return fmt.Errorf("an action has been waiting for %s", age)
		}
		return nil
	})
}

func TestServerThatLiesIsFoundOut(t *testing.T) {
	w := newWorld(t)
	token := w.issue("jti-a")
	w.idp.SetMode(local.Lies)
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	w.must(w.feed(tr, w.finding("a", 1)))
	w.wantStatuses(command.RevokeToken, "a", "commanded unverified")
	w.wantStatuses(command.Page, "a", "commanded verified")
	h := w.wantOnce()
	for _, want := range []string{"credential jti-a", "unverified", "the server answered 200 but still reports the token active", "crm:export"} {
		if !strings.Contains(h.reasons(command.Page), want) {
			t.Errorf("the page says %q, want it to say %q", h.reasons(command.Page), want)
		}
	}
	if !w.idp.Active(token) {
		t.Error("a lying server has revoked")
	}
	if p := w.posture("a"); p.Standing != command.Restricted {
		t.Errorf("posture is %s, want restricted: nothing has verified more", p.Standing)
	}
}

func TestServerThatIsAway(t *testing.T) {
	w := newWorld(t)
	w.issue("jti-a")
	w.idp.SetMode(local.Unavailable)
	w.policy.Entries[0].Ladder[0].Expires = 2 * time.Second
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	w.must(w.feed(tr, w.finding("a", 1)))
	w.wantStatuses(command.RevokeToken, "a", "commanded failed")
	w.wantStatuses(command.Page, "a", "commanded verified")
	if got := w.history().details(command.RevokeToken, "a"); !strings.Contains(got, "token still valid") {
		t.Errorf("details are %q", got)
	}
	if n := w.idp.Revocations(); n < 2 {
		t.Errorf("asked %d times, want again after Retry-After", n)
	}
}

func TestNoExecutor(t *testing.T) {
	w := newWorld(t)
	step := &w.policy.Entries[0].Ladder[0]
	step.AckTimeout, step.Retries = 100*time.Millisecond, 2
	tr := w.triage()
	w.run(tr.Run)
	w.run(w.executor(w.pager()).Run)
	w.must(w.feed(tr, w.finding("a", 1)))
	w.wantStatuses(command.RevokeToken, "a", "commanded unverified")
	w.wantStatuses(command.Page, "a", "commanded verified")
	h := w.history()
	for _, c := range h.commands {
		want := 1
		if c.Kind == command.RevokeToken {
			want = 3
		}
		if got := h.attempts[c.ID]; got != want {
			t.Errorf("%s was sent %d times, want %d", c.Kind, got, want)
		}
	}
	if got := h.details(command.RevokeToken, "a"); !strings.Contains(got, "in 3 tries") {
		t.Errorf("details are %q", got)
	}

	// An executor that comes late still takes the token away, and triage is glad to hear it.
	w.issue("jti-a")
	w.run(w.executor(w.oauth()).Run)
	w.wantStatuses(command.RevokeToken, "a", "commanded unverified verified")
	if n := w.idp.Revocations(); n != 1 {
		t.Errorf("three messages of one action made %d revocations, want 1", n)
	}
}

func TestTimeoutsSurviveARestart(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	w.must(w.feed(tr, w.finding("a", 1))) // it never runs: it ends here
	tr.Close()
	w.ahead.Store(int64(2 * time.Minute))
	a, b := w.triage(), w.triage() // two at once
	w.run(a.Run)
	w.run(b.Run)
	w.wantStatuses(command.RevokeToken, "a", "commanded unverified")
	w.wantStatuses(command.Page, "a", "commanded")
	w.wantOnce()
}

func TestShadow(t *testing.T) {
	f := func(name, detail string, change func(*Policy), age time.Duration) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			change(&w.policy)
			tr := w.triage()
			fi := w.finding("a", 1)
			fi.Time -= event.Timestamp(age)
			w.must(w.feed(tr, fi))
			h := w.wantOnce()
			if got := h.statuses(command.RevokeToken, "a"); got != "shadowed" || len(h.commands) != 0 {
				t.Errorf("statuses %q, commands %v; want only shadowed", got, h.commands)
			}
			if got := h.details(command.RevokeToken, "a"); !strings.Contains(got, detail) {
				t.Errorf("detail is %q, want %q", got, detail)
			}
			if p := w.posture("a"); len(p.Holds) > 0 || p.Standing != command.Normal {
				t.Errorf("posture is %+v, want nothing held", p)
			}
		})
	}
	f("by mode", "shadow mode", func(p *Policy) {
		p.Entries[0].Ladder[0].Mode = command.Shadow
	}, 0)
	f("by kill switch", "kill switch", func(p *Policy) { p.KillSwitch = true }, 0)
	f("by age of the event", "2h0m0s old", func(*Policy) {}, 2*time.Hour)
}

func TestShadowedThenCalledForInEarnest(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	old := w.finding("a", 1)
	old.Time -= event.Timestamp(2 * time.Hour)
	w.must(w.feed(tr, old, w.finding("a", 2)))
	h := w.wantOnce()
	if got := h.statuses(command.RevokeToken, "a"); got != "shadowed commanded" {
		t.Errorf("statuses are %q: the newer finding of the incident is fresh", got)
	}
}

func TestGuardsHoldBackAndPage(t *testing.T) {
	f := func(name, detail string, change func(*Policy), before, then func(*world) detect.Finding) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			change(&w.policy)
			tr := w.triage()
			w.run(tr.Run)
			w.run(w.executor(w.pager()).Run)
			if before != nil {
				w.must(w.feed(tr, before(w)))
			}
			fi := then(w)
			w.must(w.feed(tr, fi))
			if got := w.history().details(command.RevokeToken, fi.Agent); !strings.Contains(got, detail) {
				t.Errorf("details are %q, want %q", got, detail)
			}
			w.wantStatuses(command.Page, fi.Agent, "commanded verified")
			h := w.wantOnce()
			if got := h.reasons(command.Page); !strings.Contains(got, "is held: ") || !strings.Contains(got, detail) {
				t.Errorf("the page says %q", got)
			}
			if p := w.posture(fi.Agent); p.Standing.Rank() < command.Watched.Rank() {
				t.Errorf("posture is %q", p.Standing)
			}
		})
	}
	a := func(w *world) detect.Finding { return w.finding("a", 1) }
	b := func(w *world) detect.Finding { return w.finding("b", 1) }
	f("budget", "the budget of 1 per 1h0m0s is exhausted", func(p *Policy) {
		p.Budgets[command.RevokeToken] = Budget{Max: 1, Per: time.Hour}
	}, a, b)
	f("protected", "the agent is protected", func(p *Policy) { p.Protected = []string{"x*", "?"} }, nil, a)
	f("cooldown", "the agent is cooling down", func(p *Policy) { p.Cooldown = time.Minute }, a, func(w *world) detect.Finding {
		f := w.finding("a", 2)
		f.Session, f.Credential.ID = "another", "another"
		return f
	})
	f("no credential", "names no credential", func(*Policy) {}, nil, func(w *world) detect.Finding {
		f := w.finding("a", 1)
		f.Credential = detect.Credential{}
		return f
	})
}

func TestHeldIsCommandedWhenTheBudgetHasRoomAgain(t *testing.T) {
	w := newWorld(t)
	w.policy.Budgets[command.RevokeToken] = Budget{Max: 1, Per: time.Minute}
	tr := w.triage()
	w.must(w.feed(tr, w.finding("a", 1), w.finding("b", 1)))
	w.ahead.Store(int64(2 * time.Minute))
	w.must(w.feed(tr, w.finding("b", 2)))
	if got := w.wantOnce().statuses(command.RevokeToken, "b"); got != "held commanded" {
		t.Errorf("statuses are %q", got)
	}
}

func TestPagesBeyondTheBudgetAreFolded(t *testing.T) {
	w := newWorld(t)
	w.policy.Budgets[command.Page] = Budget{Max: 2, Per: time.Minute}
	w.policy.Entries[0].Ladder = w.policy.Entries[0].Ladder[1:]
	tr := w.triage()
	w.run(tr.Run)
	var fs []detect.Finding
	for i := range 7 {
		fs = append(fs, w.finding(fmt.Sprint("agent-", i), 1))
	}
	w.must(w.feed(tr, fs...))
	w.must(w.feed(w.triage(), fs...))
	if got := testutil.ToFloat64(tr.metrics.folded); got != 5 {
		t.Errorf("%v pages folded, want 5", got)
	}
	if got := len(w.wantOnce().commands); got != 2 {
		t.Errorf("%d pages, want 2", got)
	}
	w.ahead.Store(int64(2 * time.Minute))
	w.eventually(func() error {
		if got := w.history().reasons(command.Page); !strings.Contains(got, "5 more pages were held back by the budget of 2 per 1m0s") {
			return fmt.Errorf("the pages say %q", got)
		}
		return nil
	})
	if got := len(w.wantOnce().commands); got != 3 {
		t.Errorf("%d pages, want 3", got)
	}
}

func TestWatchIsCarriedOutByTriage(t *testing.T) {
	w := newWorld(t)
	w.policy.Entries[0].Ladder = []Step{{Kind: command.Watch, Mode: command.Auto}}
	w.must(w.feed(w.triage(), w.finding("a", 1)))
	h := w.wantOnce()
	if got := h.statuses(command.Watch, "a"); got != "commanded verified" || len(h.commands) != 0 {
		t.Errorf("statuses %q, commands %v", got, h.commands)
	}
	if p := w.posture("a"); p.Standing != command.Watched {
		t.Errorf("posture is %+v", p)
	}
}

func TestIncidents(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	later := w.finding("a", 4)
	later.Time += event.Timestamp(25 * time.Hour)
	other := w.finding("a", 3)
	other.Session = "other"
	other.Credential.ID = "other"
	second := w.finding("a", 2)
	second.Credential.ID = "another token of the same session"
	w.must(w.feed(tr, w.finding("a", 1), second, other, later))
	ids := map[string]int{}
	for _, c := range w.wantOnce().commands {
		ids[c.Incident]++
	}
	if len(ids) != 3 || len(w.history().commands) != 4 {
		t.Errorf("incidents and their commands: %v; want the session's with two credentials, the other session's and the later one's", ids)
	}
}

func TestWhatIsNoFindingIsSetAside(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	var got []string
	tr.rejects = func(_ context.Context, r stream.Record, reason error) error {
		got = append(got, fmt.Sprintf("%d %v", r.Offset, reason))
		return nil
	}
	long := w.finding(strings.Repeat("a", 2000), 1)
	noAgent := w.finding("", 1)
	noTime := w.finding("a", 1)
	noTime.Time = 0
	severe := w.finding("a", 1)
	severe.Severity = 9
	w.must(w.feed(tr, long, noAgent, noTime, severe))
	w.must(feedRecords(tr, []stream.Record{{Offset: 9, Value: []byte("{")}, {Offset: 10}, {Offset: 11, Value: []byte("null")}}))
	if len(got) != 7 {
		t.Errorf("rejects are\n%s", strings.Join(got, "\n"))
	}
	if n := testutil.ToFloat64(tr.metrics.findings.WithLabelValues("refused")); n != 7 {
		t.Errorf("%v refused, want 7", n)
	}
	tr.rejects = func(context.Context, stream.Record, error) error { return errors.New("no room") }
	if err := w.feed(tr, noAgent); err == nil {
		t.Error("a reject that could not be set aside was passed over")
	}
	w.must(w.feed(tr, w.finding("a", 1)))
	w.wantStatuses(command.RevokeToken, "a", "commanded")
}

// An agent must not get away by calling itself something that no message can carry.
func TestHugeNamesStillFit(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	w.run(tr.Run)
	js := w.js(local.ExecutorRole)
	for i, fill := range []string{"\x01", "x", "<", "\xff", "ä"} {
		f := w.finding(strings.Repeat(fill, maxName/len(fill)), 1)
		f.Session, f.User = f.Agent, f.Agent
		f.Credential = detect.Credential{ID: f.Agent, Issuer: f.Agent, Subject: f.Agent}
		f.Reason = strings.Repeat(fill, 5000)
		var fs []detect.Finding
		for n := range maxFindings { // shadowed first, so that the last one quotes them all
			g := f
			g.ID = fmt.Sprintf("%d%02d%s", i, n, strings.Repeat(fill, (maxID-3)/len(fill)))
			if n < maxFindings-1 {
				g.Time -= event.Timestamp(2 * time.Hour)
			}
			fs = append(fs, g)
		}
		w.must(w.feed(tr, fs...))
		commands := w.history().commands
		a := commands[len(commands)-1]
		w.send(js)(command.EncodeAck(w.signer(local.ExecutorRole), command.Ack{Action: a.ID, Status: command.Failed, Detail: strings.Repeat(fill, 1000/len(fill))}))
		w.eventually(func() error {
			for _, o := range w.history().outcomes {
				if o.Action.Kind == command.Page && o.Action.Incident == a.Incident {
					return nil
				}
			}
			return fmt.Errorf("no page about an agent named %q...", fill)
		})
	}
}

func TestNATSAwayForAWhile(t *testing.T) {
	w := newWorld(t)
	w.issue("jti-a")
	w.issue("jti-b")
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	w.must(w.feed(tr, w.finding("a", 1)))
	w.wantStatuses(command.RevokeToken, "a", "commanded verified")
	addr := strings.TrimPrefix(w.nats.URL(), "nats://")
	w.nats.Close()
	if err := w.feed(tr, w.finding("b", 1)); err == nil {
		t.Fatal("a finding was taken without NATS")
	}
	if tr.Ready() == nil {
		t.Error("ready without NATS")
	}
	w.startNATS(addr)
	b := w.finding("b", 1)
	w.eventually(func() error { return w.feed(tr, w.finding("a", 1), b) }) // as the stream's owner does
	w.wantStatuses(command.RevokeToken, "b", "commanded verified")
	w.wantStatuses(command.RevokeToken, "a", "commanded verified")
	w.wantOnce()
	w.must(tr.Ready())
}

func TestReplayOfTheWholeLog(t *testing.T) {
	w := newWorld(t)
	w.policy.Cooldown = time.Second
	var fs []detect.Finding
	for i := range 60 {
		fs = append(fs, w.finding(fmt.Sprint("agent-", i%7), i))
	}
	for range 3 {
		w.must(w.feed(w.triage(), fs...))
	}
	h := w.wantOnce()
	if len(h.commands) != 7 {
		t.Errorf("%d commands, want one per agent", len(h.commands))
	}
}

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	var fs []detect.Finding
	for i := range 20 {
		w.issue(fmt.Sprint("jti-agent-", i%5))
		fs = append(fs, w.finding(fmt.Sprint("agent-", i%5), i))
	}
	w.executors()
	errs := make(chan error)
	for range 3 {
		tr := w.triage()
		w.run(tr.Run)
		go func() { errs <- w.feed(tr, fs...) }()
	}
	for range 3 {
		w.must(<-errs)
	}
	for i := range 5 {
		w.wantStatuses(command.RevokeToken, fmt.Sprint("agent-", i), "commanded verified")
	}
	w.wantOnce()
	if n := w.idp.Revocations(); n != 5 {
		t.Errorf("%d revocations, want 5", n)
	}
}

func TestPermissionsOfTheLocalServer(t *testing.T) {
	w := newWorld(t)
	w.must(w.feed(w.triage(), w.finding("a", 1)))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := w.js(local.ExecutorRole).Publish(ctx, command.ActionSubject(command.RevokeToken, "a"), nil); err == nil {
		t.Error("an executor commands")
	}
	kv, err := w.js(local.GatewayRole).KeyValue(t.Context(), command.PostureBucket)
	w.must(err)
	watch, err := kv.Watch(t.Context(), command.Token("a"))
	w.must(err)
	if e := <-watch.Updates(); e == nil || e.Key() != "a" {
		t.Errorf("a gateway sees %v", e)
	}
	w.must(watch.Stop())
	if _, err := kv.Put(ctx, "a", []byte("{}")); err == nil {
		t.Error("a gateway sets a posture")
	}
	if _, err := w.js(local.GatewayRole).KeyValue(ctx, command.IncidentBucket); err == nil {
		t.Error("a gateway reads incidents")
	}
	store, err := w.js(local.StoreRole).Consumer(t.Context(), command.Actions, command.StoreConsumer)
	w.must(err)
	m, err := store.Next(jetstream.FetchMaxWait(2 * time.Second))
	w.must(err)
	if o, err := command.ParseOutcome(w.trust(), command.Message{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()}); err != nil || o.Status != command.Commanded {
		t.Errorf("the store reads %+v, %v", o, err)
	}
	w.must(m.Ack())
}
