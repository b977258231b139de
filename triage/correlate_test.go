package triage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// about is the n-th finding about an agent with a credential of its own, which is about entities too.
func (w *world) about(agent string, n int, entities ...detect.Entity) detect.Finding {
	f := w.finding(agent, n)
	f.Entities = entities
	return f
}

func poisoned(name string) detect.Entity { return detect.Entity{Kind: detect.MemoryEntity, Name: name} }

// latest is each incident as it was last told, by id.
func (h history) latest() map[string]command.Incident {
	all := map[string]command.Incident{}
	for _, c := range h.cases {
		if c.Incident.Revision >= all[c.Incident.ID].Revision {
			all[c.Incident.ID] = c.Incident
		}
	}
	return all
}

// openIncidents lists those that are open as they were last told.
func (h history) openIncidents() (open []command.Incident) {
	for _, i := range h.latest() {
		if i.Open {
			open = append(open, i)
		}
	}
	return open
}

func TestFindingsThatShareSomethingAreOneIncident(t *testing.T) {
	f := func(name string, want int, fs func(w *world) []detect.Finding) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			all := fs(w)
			w.must(w.feed(w.triage(), all...))
			w.must(w.feed(w.triage(), all...)) // a replay adds nothing
			open := w.wantOnce().openIncidents()
			count := uint64(0)
			for _, i := range open {
				count += i.Count
			}
			if len(open) != want || count != uint64(len(all)) {
				t.Errorf("%d incidents with %d findings, want %d with %d: %+v", len(open), count, want, len(all), open)
			}
			w.wantDisposed(all...)
		})
	}
	f("nothing", 2, func(w *world) []detect.Finding { return []detect.Finding{w.finding("a", 1), w.finding("b", 1)} })
	f("a credential", 1, func(w *world) []detect.Finding {
		a, b := w.finding("a", 1), w.finding("b", 1)
		b.Credential = a.Credential
		return []detect.Finding{a, b}
	})
	f("a memory record, hours later", 1, func(w *world) []detect.Finding {
		a, b := w.about("a", 1, poisoned("notes/7")), w.about("b", 1, poisoned("notes/7"))
		b.Time += event.Timestamp(20 * time.Hour)
		return []detect.Finding{a, b}
	})
	tool := detect.Entity{Kind: detect.ToolEntity, Name: "payout"}
	f("a tool", 1, func(w *world) []detect.Finding { return []detect.Finding{w.about("a", 1, tool), w.about("b", 1, tool)} })
	f("a tool, hours later", 2, func(w *world) []detect.Finding {
		a, b := w.about("a", 1, tool), w.about("b", 1, tool)
		b.Time += event.Timestamp(2 * time.Hour)
		return []detect.Finding{a, b}
	})
	f("a name, but of another kind", 2, func(w *world) []detect.Finding {
		return []detect.Finding{w.about("a", 1, tool), w.about("b", 1, detect.Entity{Kind: detect.PrincipalEntity, Name: "payout"})}
	})
	f("a chain", 1, func(w *world) []detect.Finding {
		ann := detect.Entity{Kind: detect.PrincipalEntity, Name: "ann"}
		return []detect.Finding{w.about("a", 1, tool), w.about("b", 1, tool, ann), w.about("c", 1, ann), w.finding("c", 2)}
	})
}

func TestSharedCredentialIsRevokedOnce(t *testing.T) {
	w := newWorld(t)
	w.issue("jti-a")
	w.executors()
	tr := w.triage()
	w.run(tr.Run)
	a, b := w.finding("a", 1), w.finding("b", 1)
	b.Credential = a.Credential
	w.must(w.feed(tr, a, b))
	w.wantStatuses(command.RevokeToken, "a", "commanded verified")
	h := w.wantOnce()
	if got := h.statuses(command.RevokeToken, "b"); got != "" || w.idp.Revocations() != 1 {
		t.Errorf("the credential of both is revoked %d times, and for b %q", w.idp.Revocations(), got)
	}
	last := h.cases[len(h.cases)-1]
	if i := last.Incident; !slices.Equal(i.Agents, []string{"a", "b"}) || i.AgentCount != 2 || !slices.Contains(i.Entities, command.Entity{Kind: "credential", Name: "jti-a"}) {
		t.Errorf("incident is %+v", i)
	}
	if q := strings.Join(last.Disposition.Query, "\n"); !strings.Contains(q, "It shares credential jti-a with a; 2 agents so far") {
		t.Errorf("the first look asks %s", q)
	}
}

// twoThenOne is a finding about each of two agents, and one that links them.
func twoThenOne(w *world) (a, b, link detect.Finding) {
	a, b = w.about("a", 1, poisoned("x")), w.about("b", 1, poisoned("y"))
	b.Time += event.Timestamp(time.Second)
	return a, b, w.about("c", 1, poisoned("x"), poisoned("y"))
}

func TestIncidentsAreMerged(t *testing.T) {
	w := newWorld(t)
	w.executors()
	tr := w.triage()
	w.run(tr.Run)
	a, b, link := twoThenOne(w)
	w.must(w.feed(tr, a, b))
	before := w.history().openIncidents()
	if len(before) != 2 {
		t.Fatalf("incidents are %+v", before)
	}
	w.must(w.feed(tr, link))
	h := w.wantOnce()
	open := h.openIncidents()
	if len(open) != 1 || open[0].Agent != "a" || open[0].Count != 3 || open[0].AgentCount != 3 || len(open[0].Merged) != 1 {
		t.Fatalf("incidents are %+v", open)
	}
	gone := h.latest()[open[0].Merged[0]]
	if gone.Agent != "b" || gone.Into != open[0].ID || gone.Count != 1 {
		t.Errorf("the incident that went is %+v", gone)
	}
	// What comes later about b belongs to the one that stayed.
	w.must(w.feed(tr, w.finding("b", 2)))
	if open = w.history().openIncidents(); len(open) != 1 || open[0].Count != 4 {
		t.Errorf("incidents are %+v", open)
	}
	// The one that went cannot be decided on; closing the other takes back the pages of both.
	op := w.signer(local.OperatorRole)
	w.decideOn(op, command.Approval{Action: gone.ID, Decision: command.Close, Verdict: "benign"})
	w.wantCount(tr.metrics.approvals, "merged", 1)
	w.decideOn(op, command.Approval{Action: open[0].ID, Decision: command.Close, Verdict: "true_positive"})
	w.wantCount(tr.metrics.approvals, "close", 1)
	resolved := map[string]bool{}
	for _, o := range w.wantOnce().outcomes {
		if o.Action.Kind == command.Resolve {
			resolved[o.Action.Incident] = true
		}
	}
	if !resolved[gone.ID] || !resolved[open[0].ID] {
		t.Errorf("pages are taken back of %v", resolved)
	}
	// And then a new one begins, whatever it shares with the old.
	w.must(w.feed(tr, w.about("a", 2, poisoned("y"))))
	if open = w.history().openIncidents(); len(open) != 1 || open[0].Count != 1 {
		t.Errorf("incidents are %+v", open)
	}
}

// TestCrashWhileMerging ends the work at every point of the finding that merges
// two incidents. Whoever goes on completes it, be it with the same finding or another.
func TestCrashWhileMerging(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		a, b, link := twoThenOne(w)
		w.must(w.feed(w.triage(), a, b))
		tr := w.triage()
		points := crashAfter(tr, n)
		err := w.feed(tr, link)
		tr.Close()
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		if n%2 == 0 { // another partition is faster
			w.must(w.feed(w.triage(), w.finding("b", 2)))
		} else {
			w.must(w.feed(w.triage(), link))
			w.must(w.feed(w.triage(), w.finding("b", 2)))
		}
		w.must(w.feed(w.triage(), link))
		h := w.wantOnce()
		open := h.openIncidents()
		if len(open) != 1 || open[0].Count != 4 || len(h.commands) != 3 {
			t.Errorf("crash at %v of %v: %d commands, incidents %+v", n, *points, len(h.commands), open)
		}
		w.wantDisposed(a, b, link)
		if t.Failed() || err == nil {
			return
		}
		w.nats.Close()
	}
}

// TestManyMergeAtOnce has several processes find incidents and what links them
// at the same time, in different orders.
func TestManyMergeAtOnce(t *testing.T) {
	w := newWorld(t)
	var parts [4][]detect.Finding
	all := 0
	for n := range 12 {
		for p := range parts { // an agent's findings are in one partition
			agent := fmt.Sprint("agent-", p)
			f := w.about(agent, n, poisoned(fmt.Sprint("record-", (n+p)%5)))
			f.Session = fmt.Sprint("s-", agent, n)
			parts[p] = append(parts[p], f)
			all++
		}
	}
	errs := make(chan error)
	for p := range parts {
		tr := w.triage()
		tr.log = w.quiet()
		go func() { errs <- w.feed(tr, parts[p]...) }()
	}
	for range parts {
		w.must(<-errs)
	}
	open := w.wantOnce().openIncidents()
	if len(open) != 1 || open[0].Count != uint64(all) || open[0].AgentCount != 4 {
		t.Errorf("incidents are %+v, want one with %d findings", open, all)
	}
}

// TestClosedWhileMerging closes the incident into which the one that a finding
// opened was merged, just before the finding joins it.
func TestClosedWhileMerging(t *testing.T) {
	w := newWorld(t)
	other, tr := w.triage(), w.triage()
	first, f := w.about("a", 1, poisoned("x")), w.about("b", 1, poisoned("x"))
	first.Time -= event.Timestamp(time.Second)
	fed, closed := false, false
	tr.at = func(point string) error {
		switch {
		case point == "opening" && !fed:
			fed = true
			return w.feed(other, first)
		case point == "incident" && !closed:
			closed = true
			b, err := other.connect(t.Context())
			if err != nil {
				return err
			}
			_, err = other.decideCase(t.Context(), b, command.Approval{Action: w.history().openIncidents()[0].ID, Decision: command.Close, Verdict: "benign"}, "op")
			return err
		}
		return nil
	}
	w.must(w.feed(tr, f))
	open := w.wantOnce().openIncidents()
	if !fed || !closed || len(open) != 1 || open[0].Agent != "b" || open[0].Count != 1 {
		t.Errorf("incidents are %+v", w.history().latest())
	}
	w.wantDisposed(first, f)
}

func TestIncidentIsBounded(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	tr.log = w.quiet()
	var fs []detect.Finding
	for n := range 2*maxMembers + 1 {
		fs = append(fs, w.about(fmt.Sprint("agent-", n), 1, poisoned("everywhere")))
	}
	w.must(w.feed(tr, fs...))
	w.must(w.feed(tr, w.finding("agent-0", 2)))
	open := w.history().openIncidents()
	slices.SortFunc(open, func(a, b command.Incident) int { return b.AgentCount - a.AgentCount })
	if len(open) != 3 || open[0].AgentCount != maxMembers || open[1].AgentCount != maxMembers || open[2].AgentCount != 1 {
		t.Errorf("%d incidents: %+v", len(open), open)
	}
}

// TestTwoSessionsOfOneCredential has an agent found out in two sessions that act with the
// same token: one incident, in which the second finding counts and is told, and calls for nothing more.
func TestTwoSessionsOfOneCredential(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	token := w.issue("jti-a")
	first, second := w.finding("a", 1), w.finding("a", 2)
	first.Session, second.Session = "monday", "tuesday"
	second.Reason = "a used crm:purge for the first time"
	w.must(w.feed(tr, first))
	w.wantStatuses(command.RevokeToken, "a", "commanded verified")
	w.must(w.feed(w.triage(), second)) // by another process
	w.wantDisposed(first, second)
	h := w.wantOnce()
	open := h.openIncidents()
	if len(open) != 1 || open[0].Count != 2 || open[0].AgentCount != 1 {
		t.Fatalf("open are %+v, want one incident of one agent with both findings", open)
	}
	for _, c := range h.cases {
		if c.Incident.ID != open[0].ID {
			t.Errorf("told is also of incident %s: %+v", c.Incident.ID, c)
		}
	}
	w.wantStatuses(command.RevokeToken, "a", "commanded verified")
	if got := w.idp.Revocations(); got != 1 || w.idp.Active(token) || len(h.commands) != 1 {
		t.Errorf("%d revocations and %d commands, want one; the token is active: %t", got, len(h.commands), w.idp.Active(token))
	}
}

// TestAnotherCredentialIsAnotherAction has the same session go on with another token: the
// incident is the same, and the other token is revoked, too.
func TestAnotherCredentialIsAnotherAction(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	w.run(tr.Run)
	w.executors()
	tokens := []string{w.issue("jti-a"), w.issue("jti-other")}
	first, second := w.finding("a", 1), w.finding("a", 2)
	second.Credential.ID = "jti-other"
	w.must(w.feed(tr, first, second))
	w.eventually(func() error {
		if got := w.history().statuses(command.RevokeToken, "a"); strings.Count(got, "verified") != 2 {
			return fmt.Errorf("revoked is %q, want both verified", got)
		}
		return nil
	})
	w.wantDisposed(first, second)
	h := w.wantOnce()
	if open := h.openIncidents(); len(open) != 1 || open[0].Count != 2 {
		t.Errorf("open are %+v, want one incident with both findings", open)
	}
	targets := map[string]string{}
	for _, a := range h.commands {
		targets[a.Target.Credential] = a.Incident
	}
	if len(h.commands) != 2 || len(targets) != 2 || targets["jti-a"] != targets["jti-other"] {
		t.Errorf("commanded are %+v, want each token's end in one incident", targets)
	}
	for i, token := range tokens {
		if w.idp.Active(token) {
			t.Errorf("token %d is active", i)
		}
	}
}
