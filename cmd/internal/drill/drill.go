// Package drill practises the worst hour: five agents are hijacked at once while
// the rest of the fleet works at full load, and every stop is timed from the
// event on Kafka to the command on NATS and to the first refusal at a gateway.
package drill

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/cmd/internal/stage"
	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/triage/posture"
)

//go:embed response.yaml
var response []byte

// Config says how hard the drill is.
type Config struct {
	Incidents int           // at once
	Rate      int           // events per second of the fleet's other agents
	Load      time.Duration // how long they work; the attacks come a third into it
	Agents    int           // with a past, some of which are attacked
	Seed      uint64        // of the fleet
	Dir       string        // data directory, kept; empty: a temporary one
}

// DefaultConfig is five incidents among five thousand events a second for half a minute.
func DefaultConfig() Config {
	return Config{Incidents: 5, Rate: 5000, Load: 30 * time.Second, Agents: 60, Seed: 3}
}

// Validate lists everything wrong with c.
func (c Config) Validate() error {
	var errs []error
	if c.Incidents < 5 || c.Incidents > 500 || c.Incidents%5 != 0 {
		errs = append(errs, fmt.Errorf("incidents: are %d, want a multiple of 5 up to 500", c.Incidents))
	}
	if c.Rate < 0 || c.Rate > 1_000_000 {
		errs = append(errs, fmt.Errorf("rate: is %d, want 0 to 1000000", c.Rate))
	}
	if c.Load < 10*time.Second || c.Load > time.Hour {
		errs = append(errs, fmt.Errorf("load: is %s, want 10s to 1h", c.Load))
	}
	if least := max(40, 8*c.Incidents); c.Agents < least || c.Agents > 5000 {
		errs = append(errs, fmt.Errorf("agents: are %d, want %d to 5000: with fewer, some attacks find no agent they fit", c.Agents, least))
	}
	return errors.Join(errs...)
}

const days = 14 // of the clean history

// Run runs the drill. It returns the result together with an error where an
// incident was not stopped.
func Run(ctx context.Context, cfg Config, view stage.Viewer, log *slog.Logger) (result Result, err error) {
	if err := cfg.Validate(); err != nil {
		return Result{}, err
	}
	view.Say("starting Kafka, NATS and ClickHouse, embedded")
	st, err := stage.Open(ctx, stage.Config{Dir: cfg.Dir, Response: response}, view, log)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	pc := posture.DefaultConfig()
	pc.NATS, pc.Trust = st.As(local.GatewayRole), st.App.Triage.Trust
	feed, err := posture.New(pc, prometheus.NewRegistry(), log)
	if err != nil {
		return Result{}, err
	}
	d := &drill{cfg: cfg, view: view, log: log, stage: st, feed: feed}
	err = st.Run(ctx, func(ctx context.Context) (err error) {
		feeding, stop := context.WithCancel(ctx)
		g, gctx := errgroup.WithContext(feeding)
		g.Go(func() error { return feed.Run(gctx) })
		g.Go(func() (err error) {
			defer stop()
			result, err = d.play(gctx)
			return err
		})
		return g.Wait()
	})
	return result, err
}

type drill struct {
	cfg   Config
	view  stage.Viewer
	log   *slog.Logger
	stage *stage.Stage
	feed  *posture.Feed

	mu      sync.Mutex
	sent    map[string]time.Time // attacks' events by id: when they were handed to Kafka
	refused map[string]time.Time // attacked agents: when the gateway first refused them
}

// play sends the history, then load and attacks, and counts.
func (d *drill) play(ctx context.Context) (Result, error) {
	d.sent, d.refused = map[string]time.Time{}, map[string]time.Time{}
	now := time.Now()
	fleet, err := simulate.New(simulate.Config{Agents: d.cfg.Agents, Tenants: 2, Days: days, Rate: 120, Seed: d.cfg.Seed,
		Start: now.Add(-days * 24 * time.Hour), Clock: simulate.WorkdayAt(now)})
	if err != nil {
		return Result{}, err
	}
	d.view.Say("a fortnight of %d agents, without an attack", d.cfg.Agents)
	if err := d.history(ctx, fleet); err != nil {
		return Result{}, err
	}
	if d.feed.Ready() != nil {
		return Result{}, fmt.Errorf("the gateway's feed did not begin: %w", d.feed.Ready())
	}
	attacks, err := d.attacks(ctx, fleet)
	if err != nil {
		return Result{}, err
	}
	d.view.Say("%d events a second for %s, and %d agents hijacked at once", d.cfg.Rate, d.cfg.Load, d.cfg.Incidents)
	rate, err := d.live(ctx, attacks)
	if err != nil {
		return Result{}, err
	}
	if err := d.settle(ctx, attacks); err != nil {
		return Result{}, err
	}
	return d.count(attacks, rate)
}

// history sends the clean fortnight and waits until all of it is stored.
func (d *drill) history(ctx context.Context, fleet *simulate.Fleet) error {
	sender, err := d.stage.NewSender(ctx)
	if err != nil {
		return err
	}
	for ev := range fleet.Events() {
		if err := sender.Send(ctx, ev); err != nil {
			return err
		}
	}
	if err := sender.Flush(ctx); err != nil {
		return err
	}
	for end := time.Now().Add(2 * time.Minute); ; {
		n, err := d.stage.Tables.Counts(ctx)
		if err != nil {
			return err
		}
		d.view.Progress("judged and stored", int64(n.Events), sender.Sent)
		if int64(n.Events) >= sender.Sent {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("of %d events of the history only %d are stored", sender.Sent, n.Events)
		}
		if err := stage.Sleep(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
}

// settle waits until every attack is contained and undone again, or for so long
// that it will not be any more.
func (d *drill) settle(ctx context.Context, a *attacks) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if seen := d.stage.Watch.Seen(); seen.Settled(a.labels) && d.undone(seen, a) == len(a.labels) {
			return nil
		}
		if err := stage.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
