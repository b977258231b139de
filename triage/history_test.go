package triage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// exported is a finding about what its event did.
func exported(w *world, agent string, n int) detect.Finding {
	f := w.finding(agent, n)
	f.Role, f.PValue, f.Level, f.Observed, f.Evidence = "support", 1e-6, 1e-3, "crm:export", []string{"e1", "e2"}
	f.Did = detect.Act{Tool: "crm_export", Privilege: "crm:export", Effect: event.Share, Destination: "evil.example"}
	return f
}

func (w *world) disposition(f detect.Finding) (d *command.Disposition) {
	w.Helper()
	w.eventually(func() error {
		for _, c := range w.history().cases {
			if c.Disposition != nil && c.Disposition.Finding == f.ID {
				d = c.Disposition
				return nil
			}
		}
		return fmt.Errorf("finding %s is not disposed of", f.ID)
	})
	return d
}

func TestDispositionAsksWhatIsStored(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	f := exported(w, "a", 1)
	var asked command.Question
	tr.UseHistory(func(_ context.Context, q command.Question) (command.Past, error) {
		asked = q
		return command.Past{
			Findings: []command.Tally{{Name: "memory", Count: 2}}, Verdicts: []command.Tally{{Name: "true_positive", Count: 1}}, Peers: 12,
			Rests:  []command.Stored{{ID: "e2", Name: "tool.call", Tool: "crm_export", Effect: "share", Time: f.Time}, {ID: "e1", Name: "tool.result", Tool: "web", Time: f.Time - 1e9}},
			Around: command.Around{Events: 3, Failed: 1, Tools: []string{"crm", "web"}},
		}, nil
	})
	w.must(w.feed(tr, f))
	d := w.disposition(f)
	for _, want := range []string{
		"What was found of a before? 2 by memory; verdicts: 1 by true_positive.",
		"2 of 2 stored so far; " + (f.Time - 1e9).Time().Format(time.RFC3339) + " tool.result web; " + f.Time.Time().Format(time.RFC3339) + " tool.call crm_export share.",
		"What did it do in the ten minutes before? 3 events, 1 failed; tools: crm, web.",
		"Do its peers do it? to call crm_export and to exercise crm:export: 0 of 12 other agents of role support in the 7 days before, 0 times.",
		"Is destination evil.example known? In the 7 days before: nobody contacted it.",
	} {
		if !strings.Contains(strings.Join(d.Query, "\n"), want) {
			t.Errorf("the query does not tell %q:\n%s", want, strings.Join(d.Query, "\n"))
		}
	}
	for _, want := range []string{"none of 12 peers does it", "nobody was in contact", "an attack on this agent was confirmed"} {
		if !strings.Contains(strings.Join(d.Think, "\n"), want) {
			t.Errorf("it does not think %q:\n%s", want, strings.Join(d.Think, "\n"))
		}
	}
	want := command.Question{Finding: f.ID, Agent: "a", Role: "support", Tool: "crm_export", Privilege: "crm:export", Destination: "evil.example",
		Evidence: []string{"e1", "e2"}, Time: f.Time, Window: 7 * 24 * time.Hour}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// TestStoreThatHangsStopsNobody has the store never answer: commands go out as before,
// every finding is disposed of, and soon nobody asks any more.
func TestStoreThatHangsStopsNobody(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	tr.cfg.History.Timeout = 30 * time.Second
	hangs := make(chan struct{})
	tr.UseHistory(func(ctx context.Context, _ command.Question) (command.Past, error) {
		select {
		case <-hangs:
		case <-ctx.Done():
		}
		return command.Past{}, errors.New("no answer")
	})
	p, err := tr.Open(t.Context(), stream.Owned{})
	w.must(err)
	const findings = 12
	var all []detect.Finding
	for i := range findings {
		f := exported(w, fmt.Sprint("a", i), 1)
		all = append(all, f)
		w.must(p.Process(t.Context(), []stream.Record{w.record(f)})) // it does not wait for the answer
	}
	if n := len(w.history().commands); n != findings {
		t.Errorf("%d commands while the store hangs, want %d", n, findings)
	}
	close(hangs)
	w.must(p.Checkpoint(t.Context()))
	w.wantDisposed(all...)
	if d := w.disposition(all[0]); !strings.HasSuffix(strings.Join(d.Query, "\n"), "What is stored is not known: the store did not answer within 30s.") {
		t.Errorf("the query tells %q", d.Query)
	}
	if d := w.disposition(all[findings-1]); !strings.Contains(strings.Join(d.Query, "\n"), "What is stored is not known: many findings came at once.") {
		t.Errorf("the query tells %q", d.Query)
	}
	last := exported(w, "last", 1)
	w.must(w.feed(tr, last))
	if d := w.disposition(last); !strings.Contains(strings.Join(d.Query, "\n"), "the store has not answered lately") {
		t.Errorf("the query tells %q", d.Query)
	}
	w.ahead.Add(int64(time.Minute))
	tr.UseHistory(func(context.Context, command.Question) (command.Past, error) { return command.Past{}, nil })
	for i := range 2 {
		w.must(w.feed(tr, exported(w, fmt.Sprint("after", i), 1)))
	}
	for result, want := range map[string]float64{"answered": 2, "failed": lookers, "broken": 1, "skipped": findings - lookers} {
		if got := testutil.ToFloat64(tr.metrics.histories.WithLabelValues(result)); got != want {
			t.Errorf("%v findings are %s, want %v", got, result, want)
		}
	}
}

// TestLookIsToldBeforeTheCheckpoint loses what it has not told yet, and tells it again.
func TestLookIsToldBeforeTheCheckpoint(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	asked := make(chan bool)
	tr.UseHistory(func(context.Context, command.Question) (command.Past, error) {
		asked <- true
		return command.Past{}, nil
	})
	tr.at = func(point string) error {
		if point == "case" {
			return errCrash
		}
		return nil
	}
	f := exported(w, "a", 1)
	p, err := tr.Open(t.Context(), stream.Owned{})
	w.must(err)
	w.must(p.Process(t.Context(), []stream.Record{w.record(f)}))
	<-asked
	if err := p.Checkpoint(t.Context()); !errors.Is(err, errCrash) {
		t.Fatalf("the checkpoint says %v, want what kept the finding from being told", err)
	}
	w.must(w.feed(w.triage(), f))
	w.wantDisposed(f)
	w.wantOnce()
}

func TestBreaker(t *testing.T) {
	var b breaker
	now := time.Unix(0, 0)
	f := func(name string, want bool) {
		t.Helper()
		if got := b.allows(now); got != want {
			t.Errorf("%s: asked is %v, want %v", name, got, want)
		}
	}
	for range breakAfter {
		f("so far", true)
		b.note(now, false)
	}
	f("after three failures", false)
	now = now.Add(breakFor)
	f("half a minute later", true)
	f("beside the one that tries", false)
	b.note(now, false)
	f("after another failure", false)
	now = now.Add(breakFor)
	f("later", true)
	b.note(now, true)
	f("after an answer", true)
}

// TestRecalledIsBounded disposes of names that fill what they may.
func TestRecalledIsBounded(t *testing.T) {
	huge := strings.Repeat("x", maxName)
	f := detect.Finding{Agent: huge, Role: huge, Did: detect.Act{Tool: huge, Privilege: huge, Destination: huge}}
	r := &recalled{past: command.Past{Findings: []command.Tally{{Name: huge}}, Rests: []command.Stored{{Tool: huge, Destination: huge}}, Around: command.Around{Tools: []string{huge, huge}}, Met: 1}}
	d := dispose(&Policy{}, &incident{}, &f, &risk{}, r, time.Hour)
	for _, l := range append(d.Query, d.Think...) {
		if len(l) > 600 {
			t.Errorf("a line has %d bytes", len(l))
		}
	}
}
