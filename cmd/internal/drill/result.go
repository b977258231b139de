package drill

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/stakeout-project/stakeout/cmd/internal/stage"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// Result is what the drill came to. Times run from the moment an event was
// handed to Kafka.
type Result struct {
	Incidents       int       `json:"incidents"` // attacks that became an incident
	Contained       int       `json:"contained"` // whose agent the gateway refused
	Verified        int       `json:"verified"`  // whose token was verified to be revoked
	Undone          int       `json:"undone"`    // whose containment ended with its lease
	CommandP50      float64   `json:"command_p50_ms"`
	CommandP99      float64   `json:"command_p99_ms"`
	RefusalP99      float64   `json:"refusal_p99_ms"`
	EventsPerSecond float64   `json:"events_per_second"` // through ingest, while the attacks went on
	Stops           []Stopped `json:"stops"`
}

// Stopped is how one incident was stopped, each time from the event that gave it away.
type Stopped struct {
	Threat   string  `json:"threat"`
	Agent    string  `json:"agent"`
	Detector string  `json:"detector"`
	Command  float64 `json:"command_ms"`  // until the command stood on NATS
	Refusal  float64 `json:"refusal_ms"`  // until the gateway refused the agent
	Verified float64 `json:"verified_ms"` // until the token was verified to be revoked
}

// count follows each attack from its finding to its end.
func (d *drill) count(a *attacks, rate float64) (Result, error) {
	r := Result{EventsPerSecond: rate}
	seen := d.stage.Watch.Seen()
	d.mu.Lock()
	defer d.mu.Unlock()
	var commands, refusals []float64
	var errs []error
	for _, l := range a.labels {
		about := seen.About(l)
		if len(about) == 0 {
			errs = append(errs, fmt.Errorf("%s of %s was not found", l.Threat, l.Agent))
			continue
		}
		r.Incidents++
		f := about[0].Finding
		sent := d.sent[f.Event]
		since := func(at time.Time) float64 { return float64(at.Sub(sent).Microseconds()) / 1000 }
		s := Stopped{Threat: l.Threat, Agent: f.Agent, Detector: f.Detector}
		if at, ok := commanded(seen, f.ID); ok {
			s.Command = since(at)
			commands = append(commands, s.Command)
		} else {
			errs = append(errs, fmt.Errorf("%s of %s was not answered by a command", l.Threat, f.Agent))
		}
		if at, ok := d.refused[f.Agent]; ok {
			s.Refusal = since(at)
			refusals = append(refusals, s.Refusal)
			r.Contained++
		} else {
			errs = append(errs, fmt.Errorf("%s was not refused by the gateway", f.Agent))
		}
		if at, ok := seen.Contained(about); ok {
			s.Verified = since(at)
			r.Verified++
		} else {
			errs = append(errs, fmt.Errorf("the token of %s was not verified to be revoked", f.Agent))
		}
		r.Stops = append(r.Stops, s)
	}
	r.Undone = d.undone(seen, a)
	if r.Undone < r.Incidents {
		errs = append(errs, fmt.Errorf("%d of %d containments did not end with their lease", r.Incidents-r.Undone, r.Incidents))
	}
	r.CommandP50, r.CommandP99, r.RefusalP99 = quantile(commands, .5), quantile(commands, .99), quantile(refusals, .99)
	return r, errors.Join(errs...)
}

// undone is how many attacks' agents were suspended on a lease that has ended,
// and are let through by the gateway again.
func (d *drill) undone(seen stage.Seen, a *attacks) (n int) {
	for _, l := range a.labels {
		if about := seen.About(l); len(about) > 0 && d.ended(seen, about[0].Finding) {
			n++
		}
	}
	return n
}

func (d *drill) ended(seen stage.Seen, f detect.Finding) bool {
	for _, o := range seen.Latest {
		if o.Status == command.Undone && o.Action.Kind == command.Suspend && slices.Contains(o.Action.Findings, f.ID) {
			return d.feed.Decide(f.Agent).Standing == command.Normal
		}
	}
	return false
}

// commanded is when the first command because of the finding stood on NATS.
func commanded(seen stage.Seen, finding string) (at time.Time, ok bool) {
	for _, c := range seen.Commands {
		if c.Action.Kind == command.RevokeToken && slices.Contains(c.Action.Findings, finding) && (!ok || c.At.Before(at)) {
			at, ok = c.At, true
		}
	}
	return at, ok
}

// quantile is the smallest value that at least a share q of them does not exceed; 0 of none.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[max(0, int(math.Ceil(q*float64(len(v))))-1)]
}

// Print writes the result as a table.
func (r Result) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "THREAT\tAGENT\tDETECTOR\tCOMMAND\tREFUSAL\tVERIFIED")
	for _, s := range r.Stops {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f ms\t%.1f ms\t%.1f ms\n", s.Threat, s.Agent, s.Detector, s.Command, s.Refusal, s.Verified)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d incidents, %d contained, %d verified, %d undone, at %.0f events a second\ncommand p50 %.1f ms, p99 %.1f ms; refusal p99 %.1f ms\n",
		r.Incidents, r.Contained, r.Verified, r.Undone, r.EventsPerSecond, r.CommandP50, r.CommandP99, r.RefusalP99)
	return err
}
