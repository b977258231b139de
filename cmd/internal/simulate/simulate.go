// Package simulate invents a fleet of AI agents at work, and attacks on it.
//
// A [Fleet] is a pure function of its [Config]: the same configuration gives the
// same events, byte for byte. Every agent, session and injection draws from a
// stream of chance of its own, so one more agent or one more threat leaves
// everything else as it was: the benign events of an attacked fleet are exactly
// the events of the same fleet left in peace.
//
// Nothing in an event tells whether it belongs to an attack; [Fleet.Labels] does.
package simulate

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

const day = 24 * time.Hour

// Config says which fleet to simulate and for how long.
type Config struct {
	Agents  int     `koanf:"agents"`  // that people talk to; some have a worker of their own besides
	Tenants int     `koanf:"tenants"` // over which the agents are spread
	Days    float64 `koanf:"days"`
	Rate    float64 `koanf:"rate"` // mean events per agent and day, the worker's included
	Seed    uint64  `koanf:"seed"`

	Start time.Time     `koanf:"start"`
	Clock time.Duration `koanf:"clock"` // by how much the fleet's working week is ahead of the calendar; see [WorkdayAt]

	Threats    []string      `koanf:"threats"`     // names from [Threats]; none: a clean history; "all": every one
	Injections int           `koanf:"injections"`  // of each threat
	Evasive    bool          `koanf:"evasive"`     // as somebody does it who knows how it is looked for
	AttackFrom time.Duration `koanf:"attack_from"` // clean history before the first attack; 0: 14 days, or half of the time where that is less

	Disorder float64 `koanf:"disorder"` // share of events that arrive up to two minutes late; above 0, one in a thousand also arrives twice
}

// DefaultConfig returns the configuration of a small fleet at work for four weeks, under every attack.
func DefaultConfig() Config {
	return Config{Agents: 100, Tenants: 2, Days: 28, Rate: 120, Seed: 1, Injections: 3, Threats: []string{"all"},
		Start: time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC)}
}

// Validate reports every setting that no fleet can be made of.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Agents >= 1 && c.Agents <= 5_000_000, "agents: is %d, want 1 to 5000000", c.Agents)
	check(c.Tenants >= 1 && c.Tenants <= 100, "tenants: is %d, want 1 to 100", c.Tenants)
	check(c.Days > 0 && c.Days <= 3660, "days: is %g, want more than 0 and at most 3660", c.Days)
	check(c.Rate >= 1 && c.Rate <= 100_000, "rate: is %g, want 1 to 100000", c.Rate)
	check(c.Start.Year() >= 2000 && c.Start.Year() < 2200, "start: is %s, want a time from the year 2000 on", c.Start.Format(time.RFC3339))
	check(c.Injections >= 0 && c.Injections <= 10_000, "injections: is %d, want 0 to 10000", c.Injections)
	check(c.AttackFrom >= 0 && c.AttackFrom < c.length(), "attack_from: is %s, want at least 0 and less than the %s simulated", c.AttackFrom, c.length())
	check(c.Disorder >= 0 && c.Disorder <= 1, "disorder: is %g, want 0 to 1", c.Disorder)
	errs = append(errs, validThreats(c.Threats))
	return errors.Join(errs...)
}

func (c Config) length() time.Duration { return time.Duration(c.Days * float64(day)) }

func (c Config) attackFrom() time.Duration {
	if c.AttackFrom > 0 {
		return c.AttackFrom
	}
	return min(14*day, c.length()/2)
}

// WorkdayAt returns the [Config.Clock] by which it is the middle of a working day when the calendar
// says t: a Tuesday at 15:00 for the fleet's first tenant, and 09:00 for the second.
func WorkdayAt(t time.Time) time.Duration {
	t = t.UTC()
	midnight := t.Truncate(day)
	days := (int(time.Tuesday) - int(t.Weekday()) + 7) % 7
	want := midnight.Add(time.Duration(days)*day + 15*time.Hour - zone(0))
	return want.Sub(t)
}

// A Fleet is a fleet of agents. It is not for concurrent use.
type Fleet struct {
	cfg    Config
	kits   []*kit
	shapes *shapes
	last   *run // of the history, once it ran to its end: where Live goes on
	labels []Label
	lives  uint64 // how many times Live was called
}

// New returns the fleet that cfg describes.
func New(cfg Config) (*Fleet, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	f := &Fleet{cfg: cfg, kits: equip(roles(), toolbox()), shapes: newShapes()}
	for i := range fronts {
		f.measure(f.kits[i])
	}
	return f, nil
}

// measure finds out how many events a session of a kit has, by trying.
func (f *Fleet) measure(k *kit) {
	const trials, sample = 32, 16
	events := 0
	for i := range trials {
		r := &run{fleet: f}
		a := r.hire(k, mix(k.key, uint64(i)))
		for range sample {
			r.work(a, f.cfg.Start.UnixNano())
		}
		for s, ok := r.live.pop(); ok; s, ok = r.live.pop() {
			events += len(s.val.events)
		}
	}
	k.perSession = float64(events) / (trials * sample)
}

// Events returns the fleet's history in time order. Each iteration begins anew; an
// event is valid until the next one. Sessions begun before the end are finished, and
// none begins in the last ten minutes, so that a history ends at rest.
func (f *Fleet) Events() iter.Seq[*event.Event] {
	return func(yield func(*event.Event) bool) {
		f.labels, f.last, f.lives = nil, nil, 0
		r := f.open()
		if r.drain(yield) {
			f.last = r
		}
	}
}

// Labels returns the labels of the attacks so far, in order of their first event: those of the history
// are complete once an iteration of [Fleet.Events] ran to its end, those of a [Fleet.Live] likewise.
func (f *Fleet) Labels() []Label {
	labels := slices.Clone(f.labels)
	slices.SortStableFunc(labels, func(a, b Label) int {
		if c := a.Start.Compare(b.Start); c != 0 {
			return c
		}
		return strings.Compare(a.Injection, b.Injection)
	})
	return labels
}

// A Label is the truth about one attack.
type Label struct {
	Injection string    `json:"injection"` // unique, such as "confused-deputy/2"
	Threat    string    `json:"threat"`    // name from [Threats]
	Variant   string    `json:"variant"`
	Agent     string    `json:"agent"`    // under attack
	Agents    []string  `json:"agents"`   // whose events they are: mostly that one alone
	Session   string    `json:"session"`  // in which the attack does its harm: the last
	Sessions  []string  `json:"sessions"` // all that the attack wrote, in order; the usual work in them is cover
	Events    []string  `json:"events"`   // ids of the malicious events, in order
	Start     time.Time `json:"start"`    // of the first malicious event
	End       time.Time `json:"end"`      // of the last
}
