// Package demo shows the whole pipeline at work on one machine: a fleet's clean
// fortnight, then live attacks, found, contained and verified, and everything
// counted from outside at the end.
package demo

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/cmd/internal/stage"
	"github.com/stakeout-project/stakeout/rules"
)

// Config says what is shown.
type Config struct {
	Agents     int           // that people talk to
	Seed       uint64        // of the fleet
	Threats    []string      // to be injected live
	Injections int           // of each threat
	Live       time.Duration // of the live phase
	Dir        string        // data directory, kept; empty: a temporary one
}

// DefaultConfig is a fleet of sixty agents under the attacks that the shipped detectors are for.
func DefaultConfig() Config {
	return Config{Agents: 60, Seed: 3, Injections: 4, Live: 25 * time.Second,
		Threats: []string{"privilege-drift", "confused-deputy", "indirect-prompt-injection", "memory-poisoning"}}
}

// Validate reports what cannot be shown.
func (c Config) Validate() error {
	now := time.Now()
	return errors.Join(c.fleet(now).Validate(), c.attacks(now).Validate())
}

// fleet is the one whose clean history is sent.
func (c Config) fleet(now time.Time) simulate.Config {
	return simulate.Config{Agents: c.Agents, Tenants: 2, Days: days, Rate: 120, Seed: c.Seed,
		Start: now.Add(-days * 24 * time.Hour), Clock: simulate.WorkdayAt(now)}
}

// attacks is how it goes on.
func (c Config) attacks(now time.Time) simulate.LiveConfig {
	live := simulate.DefaultLiveConfig(now)
	live.Duration, live.Threats, live.Injections = c.Live, c.Threats, c.Injections
	return live
}

// days is the length of the clean history.
const days = 14

// Run runs the demonstration. It returns the result together with an error
// where something was missed, lost or doubled.
func Run(ctx context.Context, cfg Config, view stage.Viewer, log *slog.Logger) (result Result, err error) {
	if err := cfg.Validate(); err != nil {
		return Result{}, err
	}
	d := &demo{cfg: cfg, view: view, log: log, start: time.Now()}
	acting, err := rules.Shipped.ReadFile("response.auto.yaml")
	if err != nil {
		return Result{}, err
	}
	view.Say("starting Kafka, NATS and ClickHouse, embedded")
	if d.stage, err = stage.Open(ctx, stage.Config{Dir: cfg.Dir, Response: acting}, view, log); err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, d.stage.Close()) }()
	err = d.stage.Run(ctx, func(ctx context.Context) (err error) {
		if d.sender, err = d.stage.NewSender(ctx); err != nil {
			return err
		}
		result, err = d.play(ctx)
		return err
	})
	return result, err
}

type demo struct {
	cfg    Config
	view   stage.Viewer
	log    *slog.Logger
	start  time.Time
	stage  *stage.Stage
	sender *stage.Sender
}

// play sends the fortnight, then goes live, then counts.
func (d *demo) play(ctx context.Context) (Result, error) {
	fleet, err := simulate.New(d.cfg.fleet(time.Now()))
	if err != nil {
		return Result{}, err
	}
	d.view.Say("a fortnight of %d agents, without an attack", d.cfg.Agents)
	if err := d.history(ctx, fleet); err != nil {
		return Result{}, err
	}
	d.view.Say("the fortnight raised %d findings, all false; now live, under attack", len(d.stage.Watch.Seen().Findings))
	if err := d.live(ctx, fleet); err != nil {
		return Result{}, err
	}
	d.view.Say("waiting until everything is contained and stored")
	if err := d.settle(ctx, fleet.Labels()); err != nil {
		return Result{}, err
	}
	return d.count(ctx, fleet.Labels())
}

// history sends the clean fortnight and waits until all of it is stored.
func (d *demo) history(ctx context.Context, fleet *simulate.Fleet) error {
	total := int64(float64(d.cfg.Agents) * 120 * days)
	for ev := range fleet.Events() {
		if err := d.sender.Send(ctx, ev); err != nil {
			return err
		}
		if d.sender.Sent%2048 == 0 {
			d.view.Progress("sent", d.sender.Sent, max(total, d.sender.Sent))
		}
	}
	if err := d.sender.Flush(ctx); err != nil {
		return err
	}
	return d.stored(ctx, time.Minute)
}

// stored waits until the store has every event that was sent.
func (d *demo) stored(ctx context.Context, most time.Duration) error {
	for end := time.Now().Add(most); ; {
		n, err := d.stage.Tables.Counts(ctx)
		if err != nil {
			return err
		}
		d.view.Progress("judged and stored", int64(n.Events), d.sender.Sent)
		if int64(n.Events) >= d.sender.Sent || time.Now().After(end) {
			return nil // what is missing then is counted as lost
		}
		if err := stage.Sleep(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
}

// live sends the attacked fleet's events at the times they bear, each token
// known to the identity provider.
func (d *demo) live(ctx context.Context, fleet *simulate.Fleet) error {
	lc := d.cfg.attacks(time.Now())
	events, err := fleet.Live(lc)
	if err != nil {
		return err
	}
	issued := map[string]bool{}
	last := lc.From
	for ev := range events {
		if id := ev.CredentialID; id != "" && !issued[id] {
			issued[id] = true
			if err := d.stage.Issue(id); err != nil {
				return err
			}
		}
		if at := ev.Time.Time(); at.After(last) && at.Before(lc.From.Add(2*lc.Duration)) {
			last = at
			if wait := time.Until(at); wait > 0 {
				if err := d.sender.Flush(ctx); err != nil {
					return err
				}
				if err := stage.Sleep(ctx, wait); err != nil {
					return err
				}
			}
		}
		if err := d.sender.Send(ctx, ev); err != nil {
			return err
		}
	}
	return d.sender.Flush(ctx)
}

// settle waits until every attack is contained, or for so long that it will not be any more.
func (d *demo) settle(ctx context.Context, labels []simulate.Label) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && !d.stage.Watch.Seen().Settled(labels); {
		if err := stage.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	if err := d.stored(ctx, 20*time.Second); err != nil {
		return err
	}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		n, err := d.stage.Tables.Counts(ctx)
		if err != nil {
			return err
		}
		if seen := d.stage.Watch.Seen(); int(n.Findings) >= len(seen.Findings) && int(n.Actions) >= len(seen.Latest) {
			break
		}
		if err := stage.Sleep(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
