// Package demo shows the whole pipeline at work on one machine: a fleet's clean
// fortnight, then live attacks, found, contained and verified, and everything
// counted from outside at the end.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/rules"
	"github.com/stakeout-project/stakeout/store"
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

// days is the length of the clean history.
const days = 14

// A Viewer is told what happens while it happens.
type Viewer interface {
	Say(format string, args ...any)
	Progress(what string, done, total int64)
	Finding(Sighting)
	Outcome(Sighting)
}

// Run runs the demonstration. It returns the result together with an error
// where something was missed, lost or doubled.
func Run(ctx context.Context, cfg Config, view Viewer, log *slog.Logger) (_ Result, err error) {
	d := &demo{cfg: cfg, view: view, log: log, start: time.Now()}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.open(ctx); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return app.Run(ctx, d.app, log, app.Ingest, app.Detect, app.Triage, app.Store, app.Executor)
	})
	g.Go(func() error { return d.watch.findings(ctx) })
	g.Go(func() error { return d.watch.outcomes(ctx) })
	var result Result
	g.Go(func() (err error) {
		defer cancel()
		result, err = d.play(ctx)
		return err
	})
	return result, g.Wait()
}

type demo struct {
	cfg   Config
	view  Viewer
	log   *slog.Logger
	start time.Time

	dir    string
	local  *app.Local
	app    app.Config
	idp    *local.IDP
	client *stream.Client
	watch  *watch
	tables *store.Store
	sender *sender
}

// open starts the embedded parts and an identity provider whose tokens are revoked.
func (d *demo) open(ctx context.Context) (err error) {
	d.dir = d.cfg.Dir
	if d.dir == "" {
		if d.dir, err = os.MkdirTemp("", "stakeout-demo-"); err != nil {
			return err
		}
	}
	d.app = app.DefaultConfig()
	d.app.HTTP.Listen = ""
	d.app.Topics.Partitions = 4
	d.app.Up = app.Embedded{Dir: filepath.Join(d.dir, "data"), Kafka: "127.0.0.1:0", NATS: "127.0.0.1:0", ClickHouse: "127.0.0.1:0"}
	if err := d.contain(); err != nil {
		return err
	}
	d.view.Say("starting Kafka, NATS and ClickHouse, embedded")
	if d.local, d.app, err = app.StartLocal(ctx, d.app, d.log); err != nil {
		return err
	}
	if d.client, err = stream.Open(d.app.Kafka, prometheus.NewRegistry(), d.log); err != nil {
		return err
	}
	if err := d.client.EnsureTopics(ctx, d.app.Topics.All()...); err != nil {
		return err
	}
	if d.tables, err = store.Open(ctx, d.app.Store, prometheus.NewRegistry(), d.log); err != nil {
		return err
	}
	if err := d.tables.Migrate(ctx); err != nil {
		return err
	}
	if d.sender, err = newSender(ctx, d.client, d.app.Topics.Raw[0]); err != nil {
		return err
	}
	d.watch = newWatch(d.app, d.client, d.view, d.log)
	return nil
}

// contain prepares what containment needs: an identity provider, a vault with the
// tokens it issued, and the response policy that acts.
func (d *demo) contain() (err error) {
	if d.idp, err = local.StartIDP(local.DefaultIDPConfig()); err != nil {
		return err
	}
	vault, secret, policy := filepath.Join(d.dir, "vault"), filepath.Join(d.dir, "idp.secret"), filepath.Join(d.dir, "response.yaml")
	if err := os.MkdirAll(vault, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(secret, []byte(d.idp.Secret()), 0o600); err != nil {
		return err
	}
	acting, err := rules.Shipped.ReadFile("response.auto.yaml")
	if err != nil {
		return err
	}
	if err := os.WriteFile(policy, acting, 0o600); err != nil {
		return err
	}
	d.app.Rules.Response = policy
	d.app.OAuth.Vault = vault
	server := &d.app.OAuth.Server
	server.RevokeURL, server.IntrospectURL = d.idp.URL()+"/revoke", d.idp.URL()+"/introspect"
	server.ClientID, server.SecretFile = d.idp.ClientID(), secret
	return nil
}

func (d *demo) close() error {
	var errs []error
	if d.tables != nil {
		errs = append(errs, d.tables.Close())
	}
	if d.client != nil {
		d.client.Close()
	}
	if d.local != nil {
		errs = append(errs, d.local.Close())
	}
	if d.idp != nil {
		errs = append(errs, d.idp.Close())
	}
	if d.cfg.Dir == "" && d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// play sends the fortnight, then goes live, then counts.
func (d *demo) play(ctx context.Context) (Result, error) {
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
	d.view.Say("the fortnight raised %d findings, all false; now live, under attack", d.watch.count())
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
		if err := d.sender.send(ctx, ev); err != nil {
			return err
		}
		if d.sender.sent%2048 == 0 {
			d.view.Progress("sent", d.sender.sent, max(total, d.sender.sent))
		}
	}
	if err := d.sender.flush(ctx); err != nil {
		return err
	}
	return d.stored(ctx, time.Minute)
}

// stored waits until the store has every event that was sent.
func (d *demo) stored(ctx context.Context, most time.Duration) error {
	for end := time.Now().Add(most); ; {
		n, err := d.tables.Counts(ctx)
		if err != nil {
			return err
		}
		d.view.Progress("judged and stored", int64(n.Events), d.sender.sent)
		if int64(n.Events) >= d.sender.sent || time.Now().After(end) {
			return nil // what is missing then is counted as lost
		}
		if err := sleep(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
}

// live sends the attacked fleet's events at the times they bear, each token
// known to the identity provider.
func (d *demo) live(ctx context.Context, fleet *simulate.Fleet) error {
	lc := simulate.DefaultLiveConfig(time.Now())
	lc.Duration, lc.Threats, lc.Injections = d.cfg.Live, d.cfg.Threats, d.cfg.Injections
	events, err := fleet.Live(lc)
	if err != nil {
		return err
	}
	issued := map[string]bool{}
	last := lc.From
	for ev := range events {
		if id := ev.CredentialID; id != "" && !issued[id] {
			issued[id] = true
			if err := d.issue(id); err != nil {
				return err
			}
		}
		if at := ev.Time.Time(); at.After(last) && at.Before(lc.From.Add(2*lc.Duration)) {
			last = at
			if wait := time.Until(at); wait > 0 {
				if err := d.sender.flush(ctx); err != nil {
					return err
				}
				if err := sleep(ctx, wait); err != nil {
					return err
				}
			}
		}
		if err := d.sender.send(ctx, ev); err != nil {
			return err
		}
	}
	return d.sender.flush(ctx)
}

// settle waits until every attack is contained, or for so long that it will not be any more.
func (d *demo) settle(ctx context.Context, labels []simulate.Label) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && !d.watch.settled(labels); {
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	if err := d.stored(ctx, 20*time.Second); err != nil {
		return err
	}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		n, err := d.tables.Counts(ctx)
		if err != nil {
			return err
		}
		if int(n.Findings) >= d.watch.count() && int(n.Actions) >= d.watch.actions() {
			break
		}
		if err := sleep(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("demonstration ended early: %w", ctx.Err())
	case <-t.C:
		return nil
	}
}
