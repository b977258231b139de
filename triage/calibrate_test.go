package triage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// decisions are the operations that triage put into the log, each id once.
type decisions struct {
	mu    sync.Mutex
	away  bool
	ids   map[string]bool
	texts []string
}

func (d *decisions) take(_ context.Context, op Operation) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		return errors.New("kafka is away")
	}
	if !d.ids[op.ID] {
		d.texts = append(d.texts, strings.TrimSpace(op.Agent+" "+op.Tenant)+": "+string(op.Verb))
	}
	d.ids[op.ID] = true
	return nil
}

func (d *decisions) list() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.texts)
}

func (d *decisions) fail(away bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = away
}

func TestVerdictCalibrates(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	log := &decisions{ids: map[string]bool{}}
	tr.UseOperations(log.take)
	w.run(tr.Run)
	a1, a2, b := w.finding("a", 1), w.finding("a", 2), w.finding("b", 1)
	a1.Novel, a2.Detector, a2.Novel = []string{"privilege:4f1a"}, "entitlement", []string{"breach:77aa", "privilege:4f1a", strings.Repeat("x", 60), "two words"}
	b.Credential.ID = a1.Credential.ID // one incident
	b.Tenant = "acme"
	w.must(w.feed(tr, a1, a2, b))
	id := w.history().cases[0].Incident.ID
	op := w.signer(local.OperatorRole)
	want := func(more ...string) {
		t.Helper()
		w.eventually(func() error {
			got := log.list()
			if diff := cmp.Diff(more, got[max(0, len(got)-len(more)):]); diff != "" {
				return fmt.Errorf("decisions in the log (-want +got):\n%s", diff)
			}
			return nil
		})
	}
	log.fail(true) // Kafka comes back while the decision waits
	w.decideOn(op, command.Approval{Action: id, Decision: command.Close, Verdict: falsePositive, Why: "planned", Time: event.At(tr.now())})
	w.eventually(func() error {
		if all := w.history().cases; all[len(all)-1].Change != command.Closed {
			return errors.New("not closed")
		}
		return nil
	})
	log.fail(false)
	want("a: false_positive first_use entitlement privilege:4f1a breach:77aa", "b acme: false_positive first_use")
	w.decideOn(op, command.Approval{Action: id, Decision: command.Reopen, Why: "it was not"})
	want("a: withdraw_false_positive first_use entitlement privilege:4f1a breach:77aa", "b acme: withdraw_false_positive first_use")
	w.decideOn(op, command.Approval{Action: id, Decision: command.Close, Verdict: truePositive})
	want("a: true_positive first_use entitlement privilege:4f1a breach:77aa", "b acme: true_positive first_use")
	w.decideOn(op, command.Approval{Action: id, Decision: command.Reopen})
	want("a: withdraw_true_positive first_use entitlement privilege:4f1a breach:77aa", "b acme: withdraw_true_positive first_use")
	w.decideOn(op, command.Approval{Action: id, Decision: command.Close, Verdict: "benign"}) // says nothing about the detectors
	w.wantCount(tr.metrics.approvals, "close", 3)
	w.decideOn(op, command.Approval{Action: id, Decision: command.Reopen})
	w.wantCount(tr.metrics.approvals, "reopen", 3)
	if n := len(log.list()); n != 8 {
		t.Errorf("%d decisions in the log, want 8: %q", n, log.list())
	}
	if n := testutil.ToFloat64(tr.metrics.verdicts.WithLabelValues("withdrawn")); n != 4 {
		t.Errorf("%v verdicts are counted as withdrawn, want 4", n)
	}
}

// TestMergedMemberKeepsItsTenant merges an incident in which others speak of an agent with one
// in which it does itself: only the latter knows of which tenant the agent is.
func TestMergedMemberKeepsItsTenant(t *testing.T) {
	heard, unheard := member{Agent: "a", Tenant: "acme", Detectors: []string{"first_use"}}, member{Agent: "a", Unheard: []string{"first_use"}}
	for _, first := range []member{heard, unheard} {
		i, o := incident{Members: []member{first}}, incident{ID: "later", Members: []member{heard}}
		if first.Tenant != "" {
			o.Members[0] = unheard
		}
		if i.absorb(&o); len(i.Members) != 1 || i.Members[0].Tenant != "acme" {
			t.Errorf("merged they are %+v, want one of tenant acme", i.Members)
		}
	}
}
