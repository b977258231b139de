package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/cmd/internal/stage"
	"github.com/stakeout-project/stakeout/triage/command"
)

// Result is what the demonstration came to.
type Result struct {
	Events          int64    `json:"events"` // sent
	Seconds         float64  `json:"seconds"`
	Findings        int      `json:"findings"` // that came out of detect, each once
	FindingsStored  int      `json:"findings_stored"`
	Actions         int      `json:"actions"` // commanded
	ActionsVerified int      `json:"actions_verified"`
	ActionsShadowed int      `json:"actions_shadowed"` // about findings too old to act on: would have been commanded
	FalseFindings   int      `json:"false_findings"`
	AgentDays       float64  `json:"agent_days"`
	Lost            int64    `json:"lost"`    // events, findings or actions that are not stored
	Doubled         int64    `json:"doubled"` // events, findings or actions that are stored or commanded twice
	Threats         []Threat `json:"threats"`
}

// Threat is the result for one row of the threat table. Dwell time runs from an
// attack's first event until a token was verified to be revoked.
type Threat struct {
	Name      string `json:"name"`
	Injected  int    `json:"injected"`
	Detected  int    `json:"detected"`
	Contained int    `json:"contained"`
	DwellP50  int64  `json:"dwell_p50_ms"`
	DwellP99  int64  `json:"dwell_p99_ms"`
}

// count asks Kafka, NATS and ClickHouse what came of everything, ClickHouse by
// plain HTTP, without our own code.
func (d *demo) count(ctx context.Context, labels []simulate.Label) (Result, error) {
	r := Result{Events: d.sender.Sent, Seconds: time.Since(d.start).Seconds()}
	ask := func(query string) (n int64) {
		if n, err := d.stage.SQL(ctx, query); err == nil {
			return n
		} else if r.Lost >= 0 {
			d.log.Error("count rows", "query", query, "err", err)
			r.Lost = -1
		}
		return 0
	}
	events, events1 := ask("SELECT count() FROM stakeout.events FINAL"), ask("SELECT uniqExact(agent, id) FROM stakeout.events")
	findings, findings1 := ask("SELECT count() FROM stakeout.findings FINAL"), ask("SELECT uniqExact(id) FROM stakeout.findings")
	actions, actions1 := ask("SELECT count() FROM stakeout.actions FINAL"), ask("SELECT uniqExact(id) FROM stakeout.actions")
	agents := ask("SELECT uniqExact(agent) FROM stakeout.events")
	if r.Lost < 0 {
		return r, errors.New("the rows in ClickHouse could not be counted")
	}

	seen := d.stage.Watch.Seen()
	r.Findings, r.FindingsStored = len(seen.Findings), int(findings1)
	r.AgentDays = float64(agents) * days
	// What is stored and was not seen must not make up for what is missing elsewhere.
	r.Lost = max(0, r.Events-events1) + max(0, int64(len(seen.Findings))-findings1) + max(0, int64(len(seen.Latest))-actions1)
	r.Doubled = (events - events1) + (findings - findings1) + (actions - actions1)
	for _, c := range seen.Commands {
		r.Doubled += int64(c.Times - 1)
	}
	r.Actions = len(seen.Commands)
	for _, o := range seen.Latest {
		switch o.Status {
		case command.Verified:
			r.ActionsVerified++
		case command.Shadowed:
			r.ActionsShadowed++
		}
	}
	r.judge(seen, labels, d.cfg.Threats)
	return r, r.verdict()
}

// judge holds the findings against the labels.
func (r *Result) judge(seen stage.Seen, labels []simulate.Label, threats []string) {
	explained := map[string]bool{}
	for _, name := range threats {
		t := Threat{Name: name}
		var dwell []time.Duration
		for _, l := range labels {
			if l.Threat != name {
				continue
			}
			t.Injected++
			about := seen.About(l)
			for _, s := range about {
				explained[s.Finding.ID] = true
			}
			if len(about) > 0 {
				t.Detected++
			}
			if at, ok := seen.Contained(about); ok {
				t.Contained++
				dwell = append(dwell, at.Sub(l.Start))
			}
		}
		t.DwellP50, t.DwellP99 = quantile(dwell, .5).Milliseconds(), quantile(dwell, .99).Milliseconds()
		r.Threats = append(r.Threats, t)
	}
	r.FalseFindings = len(seen.Findings) - len(explained)
}

// verdict is an error that names everything that is not as it should be.
func (r Result) verdict() error {
	var errs []error
	for _, t := range r.Threats {
		if t.Detected < t.Injected {
			errs = append(errs, fmt.Errorf("%s: %d of %d attacks were not detected", t.Name, t.Injected-t.Detected, t.Injected))
		}
		if t.Contained < t.Detected {
			errs = append(errs, fmt.Errorf("%s: %d of %d detected attacks were not verified to be contained", t.Name, t.Detected-t.Contained, t.Detected))
		}
	}
	if r.ActionsVerified < r.Actions {
		errs = append(errs, fmt.Errorf("%d of %d commands were not verified", r.Actions-r.ActionsVerified, r.Actions))
	}
	if r.Lost != 0 {
		errs = append(errs, fmt.Errorf("%d lost", r.Lost))
	}
	if r.Doubled != 0 {
		errs = append(errs, fmt.Errorf("%d doubled", r.Doubled))
	}
	return errors.Join(errs...)
}

// quantile is the smallest value that at least a share q of them does not exceed; 0 of none.
func quantile(v []time.Duration, q float64) time.Duration {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[max(0, int(math.Ceil(q*float64(len(s))))-1)]
}

// Print writes the result as a table.
func (r Result) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "threat\tinjected\tdetected\tcontained\tdwell p50\tdwell p99\t")
	for _, t := range r.Threats {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t\n", t.Name, t.Injected, t.Detected, t.Contained, millis(t.DwellP50), millis(t.DwellP99))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, `
%d events in %.0f s; %d findings, %d stored; %d commands, %d verified; %d more would have been sent about old findings
%d false findings in %.0f agent-days: %.4f per agent-day
lost %d, doubled %d
`, r.Events, r.Seconds, r.Findings, r.FindingsStored, r.Actions, r.ActionsVerified, r.ActionsShadowed,
		r.FalseFindings, r.AgentDays, float64(r.FalseFindings)/max(r.AgentDays, 1), r.Lost, r.Doubled)
	return err
}

func millis(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }
