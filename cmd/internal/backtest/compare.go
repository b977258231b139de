package backtest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/stakeout-project/stakeout/detect"
)

// Comparison is what another set of rules changes.
type Comparison struct {
	Events    int64              `json:"events"`
	Rejected  int64              `json:"rejected"`
	A         Outcome            `json:"a"`
	B         Outcome            `json:"b"`
	Detectors map[string]Changes `json:"detectors"`
	Added     []Change           `json:"added"`   // findings that B makes and A does not
	Removed   []Change           `json:"removed"` // findings that A makes and B does not
	Kept      []Change           `json:"kept"`
}

// Outcome is what one set of rules makes of the events.
type Outcome struct {
	Rules    string  `json:"rules"` // version
	Budget   float64 `json:"budget"`
	Findings int     `json:"findings"`
	False    int     `json:"false_findings"` // as in [Report]
	Realised float64 `json:"realised_over_budget"`
}

// Changes counts the findings of one detector.
type Changes struct {
	Added   int `json:"added"`
	Removed int `json:"removed"`
	Kept    int `json:"kept"`
}

// Change is one finding that was added, removed or kept.
type Change struct {
	Detector string    `json:"detector"`
	Agent    string    `json:"agent"`
	Session  string    `json:"session,omitempty"`
	Event    string    `json:"event"`
	Time     time.Time `json:"time"`
	Reason   string    `json:"reason"`
	Class    string    `json:"class,omitempty"` // of the session, where there are labels
}

// Compare runs two sets of rules over the same events. The rules of the
// configuration do not count.
func Compare(ctx context.Context, cfg Config, a, b detect.Rules, progress func(int)) (Comparison, error) {
	labels, err := readLabels(cfg.Labels)
	if err != nil {
		return Comparison{}, err
	}
	runs, no, err := play(ctx, cfg, progress, a, b)
	if err != nil {
		return Comparison{}, err
	}
	runA, runB := runs[0], runs[1]
	c := Comparison{Events: runA.events, Rejected: no.n, Detectors: map[string]Changes{}, Added: []Change{}, Removed: []Change{}, Kept: []Change{}}
	c.A, c.B = runA.outcome(labels), runB.outcome(labels)
	inA, inB := runA.byID(), runB.byID()
	put := func(list *[]Change, f finding, count func(*Changes)) {
		n := c.Detectors[f.Detector]
		count(&n)
		c.Detectors[f.Detector] = n
		*list = append(*list, Change{f.Detector, f.Agent, f.Session, f.Event, f.Time.Time().UTC(), f.Reason, labels[f.Session].Class})
	}
	for id, f := range inB {
		if _, both := inA[id]; both {
			put(&c.Kept, f, func(n *Changes) { n.Kept++ })
		} else {
			put(&c.Added, f, func(n *Changes) { n.Added++ })
		}
	}
	for id, f := range inA {
		if _, both := inB[id]; !both {
			put(&c.Removed, f, func(n *Changes) { n.Removed++ })
		}
	}
	for _, list := range [][]Change{c.Added, c.Removed, c.Kept} {
		slices.SortFunc(list, func(x, y Change) int {
			return cmp.Or(cmp.Compare(x.Detector, y.Detector), x.Time.Compare(y.Time), cmp.Compare(x.Agent, y.Agent), cmp.Compare(x.Event, y.Event))
		})
	}
	return c, nil
}

// byID lists findings by their ids, which two runs over the same events share.
func (r *run) byID() map[string]finding {
	all := map[string]finding{}
	for _, f := range r.found {
		all[f.ID] = f
	}
	return all
}

func (r *run) outcome(labels map[string]Label) Outcome {
	rep := r.report(labels, 1)
	return Outcome{Rules: r.cfg.Rules.Version, Budget: rep.Budget, Findings: rep.Findings, False: rep.False, Realised: rep.Realised}
}

// Print writes the comparison for people.
func (c Comparison) Print(out io.Writer) error {
	fmt.Fprintf(out, "%d events\n", c.Events)
	if c.Rejected > 0 {
		fmt.Fprintf(out, "%d lines are no events\n", c.Rejected)
	}
	for _, o := range []struct {
		name string
		Outcome
	}{{"A", c.A}, {"B", c.B}} {
		fmt.Fprintf(out, "%s  %s: %d findings, %d false, %.2f of the budget of %g\n", o.name, o.Rules, o.Findings, o.False, o.Realised, o.Budget)
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "detector\tadded\tremoved\tkept\t")
	for _, name := range slices.Sorted(maps.Keys(c.Detectors)) {
		n := c.Detectors[name]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t\n", name, n.Added, n.Removed, n.Kept)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		list []Change
	}{{"added", c.Added}, {"removed", c.Removed}} {
		for _, f := range part.list {
			fmt.Fprintf(out, "\n%s  %s  %s  session %s  event %s  %s\n  %s\n", part.name, f.Time.Format(time.RFC3339), f.Detector, cmp.Or(f.Session, "-"), f.Event, f.Class, f.Reason)
		}
	}
	return nil
}
