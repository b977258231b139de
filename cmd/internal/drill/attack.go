package drill

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// attacks are hijacked agents, each with all that happens in the sessions
// of its attack. Times are counted from the first malicious event.
type attacks struct {
	labels []simulate.Label
	events []timed // in order of time
	lead   time.Duration
}

type timed struct {
	at time.Duration
	ev *event.Event
}

// mix says how many attacks of which threat there are among n, a multiple of five.
func mix(n int) map[string]int {
	return map[string]int{"privilege-drift": n / 5, "confused-deputy": n / 5, "indirect-prompt-injection": 2 * n / 5, "memory-poisoning": n / 5}
}

// attacks lets the fleet live on under attack, unseen, and takes as many attacks
// out of it as are wanted, so that each of them begins its harm at the same moment.
func (d *drill) attacks(ctx context.Context, fleet *simulate.Fleet) (*attacks, error) {
	lc := simulate.DefaultLiveConfig(time.Now())
	lc.Duration, lc.Threats, lc.Injections = 10*time.Second, nil, 2*d.cfg.Incidents/5
	left := mix(d.cfg.Incidents)
	for name := range left {
		lc.Threats = append(lc.Threats, name)
	}
	events, err := fleet.Live(lc)
	if err != nil {
		return nil, err
	}
	var all []*event.Event
	for ev := range events {
		kept := new(event.Event)
		if err := new(event.Decoder).Decode(ev.AppendJSON(nil), kept); err != nil {
			return nil, fmt.Errorf("keep event %s: %w", ev.ID, err)
		}
		all = append(all, kept)
	}
	a := &attacks{}
	issued := map[string]bool{}
	for _, l := range fleet.Labels() {
		if left[l.Threat] == 0 || slices.ContainsFunc(a.labels, func(o simulate.Label) bool { return o.Agent == l.Agent }) {
			continue
		}
		left[l.Threat]--
		a.labels = append(a.labels, l)
		for _, ev := range all {
			if !slices.Contains(l.Sessions, ev.Session) {
				continue
			}
			at := ev.Time.Time().Sub(l.Start)
			a.events = append(a.events, timed{at, ev})
			a.lead = max(a.lead, -at)
			if id := ev.CredentialID; id != "" && !issued[id] {
				issued[id] = true
				if err := d.stage.Issue(id); err != nil {
					return nil, err
				}
			}
		}
	}
	slices.SortStableFunc(a.events, func(x, y timed) int { return int(x.at - y.at) })
	if len(a.labels) != d.cfg.Incidents {
		return nil, fmt.Errorf("only %d of %d attacks found an agent they fit, want another seed or more agents", len(a.labels), d.cfg.Incidents)
	}
	return a, ctx.Err()
}
