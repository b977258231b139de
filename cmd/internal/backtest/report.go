package backtest

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// Report is what came of a backtest.
type Report struct {
	Events        int64              `json:"events"`
	Rejected      int64              `json:"rejected"` // lines that are no events
	Agents        int                `json:"agents"`
	Sessions      int                `json:"sessions"`
	AgentDays     float64            `json:"agent_days"` // from each agent's first event to its last
	Budget        float64            `json:"budget"`
	Findings      int                `json:"findings"`
	False         int                `json:"false_findings"` // in benign sessions, and in sessions without a label
	FalsePerDay   float64            `json:"false_per_agent_day"`
	Realised      float64            `json:"realised_over_budget"`
	Interval                         // of the ratio, of 95 %
	Risked        float64            `json:"risked"` // false findings that the detectors of one agent foretold
	RiskedBy      map[string]float64 `json:"risked_by_detector"`
	Seconds       float64            `json:"seconds"`
	EventsPerSec  float64            `json:"events_per_second"`
	BytesPerAgent float64            `json:"bytes_per_agent"`

	Classes   map[string]Class      `json:"classes"` // of the sessions after the warm-up
	Folds     map[string]Fold       `json:"folds"`
	Detectors map[string]ByDetector `json:"detectors"`
	Groups    map[string]Stratum    `json:"groups"`      // by role and tenant
	Maturity  map[string]Stratum    `json:"maturity"`    // by how many events of the agent were known
	DelayP50  float64               `json:"delay_p50_s"` // from the start of an attacked session to its first finding
	DelayP99  float64               `json:"delay_p99_s"`

	FirstRejected string   `json:"first_rejected,omitempty"` // where the first line is that is no event, and why
	Notes         []string `json:"notes,omitempty"`          // what keeps the figures from meaning what they seem to
}

// Class counts the sessions of one class.
type Class struct {
	Sessions int `json:"sessions"`
	Alerted  int `json:"alerted"`
}

// ByDetector counts the findings of one detector.
type ByDetector struct {
	Findings int `json:"findings"`
	True     int `json:"true"` // in sessions with a successful attack
	False    int `json:"false"`
}

func (r *run) report(labels map[string]Label, seconds float64) Report {
	rep := Report{Events: r.events, Agents: len(r.agents), Sessions: len(r.sessions), Budget: r.cfg.Rules.Budget,
		Findings: len(r.found), Seconds: seconds, EventsPerSec: float64(r.events) / seconds,
		Classes: map[string]Class{}, Detectors: map[string]ByDetector{}, RiskedBy: map[string]float64{}}
	for _, a := range r.agents {
		rep.AgentDays += a.last.Sub(a.first).Hours() / 24
	}
	class := func(id string) string {
		if l, ok := labels[id]; ok {
			return l.Class
		}
		return benign
	}
	r.countFindings(&rep, class)
	risked := r.engine.Stats().Risked
	for _, e := range r.cfg.Rules.Detectors {
		about := e.About()
		rep.Risked += risked[about.Slot]
		rep.RiskedBy[about.Name] = risked[about.Slot]
	}
	rep.Groups, rep.Maturity = r.strata(rep.Budget, func(f finding) bool { return class(f.Session) == benign })
	r.countSessions(&rep, labels, class)
	rep.BytesPerAgent = r.memory()
	return rep
}

// countFindings reports which findings are of which detector, and how many of them are false.
func (r *run) countFindings(rep *Report, class func(session string) string) {
	for _, f := range r.found {
		d := rep.Detectors[f.Detector]
		d.Findings++
		switch class(f.Session) {
		case success:
			d.True++
		case benign:
			d.False++
			rep.False++
		}
		rep.Detectors[f.Detector] = d
	}
	rep.FalsePerDay = float64(rep.False) / math.Max(rep.AgentDays, 1e-9)
	rep.Realised = rep.FalsePerDay / rep.Budget
	rep.Interval = intervalOf(rep.False, rep.Budget*rep.AgentDays)
}

// countSessions reports which sessions after the warm-up were alerted, how soon those with an
// attack, and how well evidence tells classes apart: in all groups, and in each.
func (r *run) countSessions(rep *Report, labels map[string]Label, class func(session string) string) {
	all, byGroup := curves{}, map[string]curves{}
	var delays []float64
	for id, s := range r.sessions {
		l, labelled := labels[id]
		if r.warmup(l, s) {
			continue
		}
		c := class(id)
		rep.Classes[c] = rep.Classes[c].plus(s)
		if c == success && s.alerted {
			delays = append(delays, s.delay.Seconds())
		}
		if !labelled || l.Fold == nil {
			continue
		}
		group := s.agent.group()
		if byGroup[group] == nil {
			byGroup[group] = curves{}
		}
		all.add(l.fold(), c, s)
		byGroup[group].add(l.fold(), c, s)
	}
	rep.Folds = all.folds()
	for name, c := range byGroup {
		g := rep.Groups[name]
		g.Folds = c.folds()
		rep.Groups[name] = g
	}
	slices.Sort(delays)
	rep.DelayP50, rep.DelayP99 = at(delays, .5), at(delays, .99)
}

// warmup reports whether a session belongs to the time that was learned from.
func (r *run) warmup(l Label, s *session) bool {
	if l.Phase != "" {
		return l.Phase == "warmup"
	}
	return s.first.Time().Before(r.cfg.WarmupUntil)
}

func (c Class) plus(s *session) Class {
	c.Sessions++
	if s.alerted {
		c.Alerted++
	}
	return c
}

// at is a quantile of sorted values; 0 of none.
func at(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return v[min(int(q*float64(len(v))), len(v)-1)]
}

// mostGroups is how many peer groups a person wants curves of; programs get all.
const mostGroups = 12

// Print writes the report for people.
func (r Report) Print(out io.Writer) error {
	fmt.Fprintf(out, "%d events of %d agents in %d sessions, %.1f agent-days, in %s: %.0f events/s, %.0f bytes per agent\n",
		r.Events, r.Agents, r.Sessions, r.AgentDays, time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond), r.EventsPerSec, r.BytesPerAgent)
	if r.Rejected > 0 {
		fmt.Fprintf(out, "%d lines are no events; the first is %s\n", r.Rejected, r.FirstRejected)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(out, "note: %s\n", note)
	}
	fmt.Fprintf(out, "%d findings, %d false: %.4f per agent-day, %.2f of the budget of %g (%s); %.1f foretold\n\n",
		r.Findings, r.False, r.FalsePerDay, r.Realised, r.Budget, r.Interval.text(), r.Risked)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "detector\tfindings\ttrue\tfalse\tforetold\t")
	for _, name := range slices.Sorted(maps.Keys(r.Detectors)) {
		d := r.Detectors[name]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.1f\t\n", name, d.Findings, d.True, d.False, r.RiskedBy[name])
	}
	fmt.Fprintln(w, "\t\t\t\t\t\nclass\tsessions\talerted\t\t\t")
	for _, name := range slices.Sorted(maps.Keys(r.Classes)) {
		c := r.Classes[name]
		fmt.Fprintf(w, "%s\t%d\t%d\t\t\n", name, c.Sessions, c.Alerted)
	}
	row := func(name string, f Fold) {
		fmt.Fprintf(w, "%s\tAUC %.3f\tTPR at 1%% %.2f\tat 5%% %.2f\tat 10%% %.2f\t\n", name, f.AUC, f.TPR["0.01"], f.TPR["0.05"], f.TPR["0.10"])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Folds)) {
		fmt.Fprintln(w, "\t\t\t\t")
		row(name, r.Folds[name])
		if len(r.Groups) > mostGroups {
			continue
		}
		for _, group := range slices.Sorted(maps.Keys(r.Groups)) {
			if f, ok := r.Groups[group].Folds[name]; ok && len(r.Groups) > 1 {
				row(name+" among "+group, f)
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return r.printStrata(out)
}

// printStrata writes where the budget was kept, and how far chance alone explains
// that it was not.
func (r Report) printStrata(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, s Stratum) {
		fmt.Fprintf(w, "%s\t%.1f\t%d\t%d\t%.1f\t%.2f\t%s\t%.1f\t\n", name, s.AgentDays, s.Findings, s.False, s.Budgeted, s.Realised, s.Interval.text(), s.Risked)
	}
	const columns = "agent-days\tfindings\tfalse\tbudgeted\tof the budget\t95 % by chance\tforetold\t"
	fmt.Fprintln(w, "\t\t\t\t\t\t\t\t\npeer group\t"+columns)
	for _, name := range slices.Sorted(maps.Keys(r.Groups)) {
		row(name, r.Groups[name])
	}
	fmt.Fprintln(w, "\t\t\t\t\t\t\t\t\nevents known\t"+columns)
	for _, m := range maturities {
		row(m.name, r.Maturity[m.name])
	}
	return w.Flush()
}
