package simulate

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// usual is a time in which sessions can run at their usual pace.
const usual = 150 * time.Second

// LiveConfig says how the fleet goes on after its history: everybody at work at once, and under attack from the first seconds.
type LiveConfig struct {
	From       time.Time     `koanf:"from"`
	Duration   time.Duration `koanf:"duration"`   // in which sessions begin; the last of them end soon after
	Sessions   float64       `koanf:"sessions"`   // mean benign sessions per agent in that time
	Threats    []string      `koanf:"threats"`    // as in [Config]
	Injections int           `koanf:"injections"` // of each threat
}

// DefaultLiveConfig returns half a minute of work from the given time on, under one attack of each kind.
func DefaultLiveConfig(from time.Time) LiveConfig {
	return LiveConfig{From: from, Duration: 30 * time.Second, Sessions: 1, Threats: []string{"all"}, Injections: 1}
}

// Validate reports every setting that cannot be.
func (c LiveConfig) Validate() error {
	var errs []error
	if c.From.Year() < 2000 || c.From.Year() >= 2200 {
		errs = append(errs, fmt.Errorf("from: is %s, want a time from the year 2000 on", c.From.Format(time.RFC3339)))
	}
	if c.Duration < time.Second || c.Duration > day {
		errs = append(errs, fmt.Errorf("duration: is %s, want 1s to 24h", c.Duration))
	}
	if c.Sessions < 0 || c.Sessions > 1000 {
		errs = append(errs, fmt.Errorf("sessions: is %g, want 0 to 1000", c.Sessions))
	}
	if c.Injections < 0 || c.Injections > 10_000 {
		errs = append(errs, fmt.Errorf("injections: is %d, want 0 to 10000", c.Injections))
	}
	return errors.Join(append(errs, validThreats(c.Threats))...)
}

// Live returns the events of the same agents, with the habits, memories and credentials that the history left
// them, from cfg.From on, whatever the hour. A history that nobody iterated to its end is run through unseen.
//
// In a phase of less than two minutes and a half, time within sessions is compressed so that they fit in;
// the durations that tools report are not. Each iteration goes on from where the last phase ended, and adds its attacks to [Fleet.Labels].
func (f *Fleet) Live(cfg LiveConfig) (iter.Seq[*event.Event], error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("live phase: %w", err)
	}
	return func(yield func(*event.Event) bool) {
		if f.last == nil {
			f.Events()(func(*event.Event) bool { return true })
		}
		f.lives++
		f.last.resume(cfg, f.lives)
		f.last.drain(yield)
	}, nil
}

// resume makes the run ready for a live phase.
func (r *run) resume(cfg LiveConfig, phase uint64) {
	f := r.fleet
	r.due, r.live = queue[duty]{}, queue[*session]{}
	r.begin = cfg.From.UnixNano()
	r.end = r.begin + int64(cfg.Duration)
	r.quiet = r.end
	r.pace = min(256, max(16, int64(256*cfg.Duration/usual)))
	r.name = fmt.Sprintf("live-%d/", phase)
	r.late = f.disorder()
	for i, a := range r.agents {
		s := streamOf(mix(a.key, phase), nameKey("live"))
		n := int(cfg.Sessions)
		if s.below(1000) < int(cfg.Sessions*1000)%1000 {
			n++
		}
		for range n {
			at := r.begin + s.between(0, int64(cfg.Duration)*7/10)
			r.due.push(at, duty{appointment, i}.key(), duty{appointment, i})
		}
		first := f.cfg.Start.UnixNano() + streamAt(a.key, r.interval())
		if behind := r.begin - first; behind > 0 {
			first += (behind + r.interval() - 1) / r.interval() * r.interval()
		}
		r.plan(duty{beat, i}, first)
	}
	r.arm(cfg.Threats, cfg.Injections)
}
