// Package triage decides what is done about findings, commands it, and does not
// rest before it knows what became of it.
//
// It holds nothing: incidents, actions, budgets and timers are values in NATS
// that change by compare-and-set, so any number of processes may work at the
// same time and each may end at any instruction.
//
// # Once, and only once
//
// Every finding is handled in these steps, and each may be repeated:
//
//  1. A finding that is marked as seen changes nothing.
//  2. One compare-and-set adds the finding to its incident together with the
//     actions decided for it (its outbox). What was decided is decided: a replay
//     under another policy or at another time does not decide again.
//  3. Each action of the outbox becomes a record under its id, unless there is one.
//     The guards speak here, because what they grant is reserved under that id.
//  4. What the record still owes to the world is done (see below).
//  5. The outbox is emptied. What is stored about the past is asked, while the next
//     findings are handled; then the finding is told of, and marked as seen.
//
// A record owes: a posture, a command, its outcomes, what follows from them, and
// a timer. Posture and timer are the same however often they are written, and
// what follows is another record under an id of its own. Commands and outcomes
// go into a stream, where a second one would stay. JetStream drops duplicates by
// message id only within a window, so a record says where its command has to
// stand: it stores the last sequence L of the command's subject first, and then
// publishes on condition that L is still the last one. Whoever finds the record
// later looks at the first message of that subject behind L. If it is the
// command, then it was sent; if it is another, then the condition has failed for
// ever and a new L is chosen; if there is none, then the same conditional
// publish is tried again, and of all who try it at most one succeeds. Outcomes
// have a subject of their own per action, and each is published on condition
// that the one before it is the last. So the promise outlives the window, and a
// process that was stopped for an hour does no harm when it goes on.
package triage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// Rejects takes a record that is not a finding. An error has it handled again.
type Rejects func(ctx context.Context, r stream.Record, reason error) error

// Triage is one triage process. Its methods may be called concurrently.
type Triage struct {
	cfg        Config
	policy     atomic.Pointer[Policy]
	rejects    Rejects
	operations Operations
	history    History
	breaker    breaker      // of history
	asking     chan bool    // holds whoever asks it: one finding at a time
	busy       atomic.Int64 // when a finding was last being handled, in nanoseconds
	metrics    *metrics
	model      model
	drafts     chan draftJob // nil without a model
	timers     timers
	log        *slog.Logger
	now        func() time.Time
	at         func(point string) error // tests stop the work here

	bus atomic.Pointer[bus] // nil until NATS answered for the first time
	mu  sync.Mutex          // held while connecting
	nc  *nats.Conn
}

// New makes a triage process that does nothing yet. Rejects may be nil.
func New(cfg Config, policy Policy, rejects Rejects, reg prometheus.Registerer, log *slog.Logger) (*Triage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t := &Triage{asking: make(chan bool, 1), cfg: cfg, rejects: rejects, model: newModel(cfg.Draft), log: log, now: time.Now, at: func(string) error { return nil }}
	if cfg.Draft.URL != "" {
		t.drafts = make(chan draftJob, draftQueue)
	}
	if err := t.SetPolicy(policy); err != nil {
		return nil, err
	}
	t.metrics = newMetrics(reg, func() time.Duration { return t.timers.oldest(t.now()) })
	return t, nil
}

// SetPolicy puts p in force for everything decided from now on. A wrong policy
// is refused whole and the one in force stays.
func (t *Triage) SetPolicy(p Policy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	t.policy.Store(&p)
	return nil
}

// Open implements [stream.Opener] for the topic of findings.
func (t *Triage) Open(ctx context.Context, _ stream.Owned) (stream.Processor, error) {
	if _, err := t.connect(ctx); err != nil {
		return nil, err
	}
	p := &processor{t: t}
	p.looks.SetLimit(lookers)
	return p, nil
}

// processor handles the findings of one partition. What is done about them is
// acknowledged before Process returns; what is told of them, with what is stored about
// their past, at the checkpoint at the latest.
type processor struct {
	t     *Triage
	looks errgroup.Group
	told  untold
}

func (p *processor) Process(ctx context.Context, batch []stream.Record) error {
	for i := range batch {
		if err := p.t.receive(ctx, p, &batch[i]); err != nil {
			return fmt.Errorf("triage finding at %s/%d/%d: %w", batch[i].Topic, batch[i].Partition, batch[i].Offset, err)
		}
	}
	return nil
}

// CheckpointPart implements [stream.Partial]: while findings come, nobody waits for what
// is to be told of those before.
func (p *processor) CheckpointPart(_ context.Context, next int64) (int64, error) {
	return p.told.before(next)
}

func (p *processor) Checkpoint(context.Context) error {
	if err := p.looks.Wait(); err != nil {
		return fmt.Errorf("tell of findings: %w", err)
	}
	return nil
}

// Close waits for what is under way. What failed shows in the checkpoint.
func (p *processor) Close() error { return p.looks.Wait() }

// Run takes the answers of executors and the decisions of operators, and looks
// after the timers, until ctx ends.
func (t *Triage) Run(ctx context.Context) error {
	b, err := t.await(ctx)
	if b == nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		command.Consume(ctx, b.js, command.Acks, command.TriageConsumer, 64, t.log, t.hear)
		return nil
	})
	g.Go(func() error {
		t.watchTimers(ctx, b)
		return nil
	})
	g.Go(func() error {
		t.sweep(ctx)
		return nil
	})
	g.Go(func() error {
		t.beat(ctx, b)
		return nil
	})
	if t.drafts != nil {
		for range draftWorkers {
			g.Go(func() error {
				t.draft(ctx, b)
				return nil
			})
		}
	}
	return g.Wait()
}

// await connects, however long it takes, and fails for what waiting does not
// mend. It returns nothing when ctx ends.
func (t *Triage) await(ctx context.Context) (*bus, error) {
	for {
		b, err := t.connect(ctx)
		if err == nil {
			return b, nil
		}
		if t.dialed() == nil {
			return nil, err
		}
		t.log.Warn("nats is not ready", "err", err)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(time.Second):
		}
	}
}

func (t *Triage) dialed() *nats.Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nc
}

// connect returns the connection, and makes it and what triage keeps on it at the first call that succeeds.
func (t *Triage) connect(ctx context.Context) (*bus, error) {
	if b := t.bus.Load(); b != nil {
		return b, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if b := t.bus.Load(); b != nil {
		return b, nil
	}
	signer, err := command.ReadSigner(t.cfg.SigningKey)
	if err != nil {
		return nil, err
	}
	if t.nc == nil {
		if t.nc, err = command.Connect(t.cfg.NATS, "stakeout-triage", t.log); err != nil {
			return nil, err
		}
	}
	js, err := jetstream.New(t.nc, jetstream.WithDefaultTimeout(t.cfg.Timeout))
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	layout := command.DefaultLayout()
	layout.Replicas, layout.Retention = t.cfg.Replicas, t.cfg.Retention
	ctx, cancel := context.WithTimeout(ctx, 10*t.cfg.Timeout)
	defer cancel()
	if err := command.Provision(ctx, js, layout); err != nil {
		return nil, err
	}
	b, err := openBus(ctx, js, signer, t.cfg.Timeout)
	if err != nil {
		return nil, err
	}
	t.bus.Store(b)
	return b, nil
}

// Ready returns an error while NATS is away.
func (t *Triage) Ready() error {
	b := t.bus.Load()
	if b == nil {
		return errors.New("nats: not reached yet")
	}
	return command.Down(b.js.Conn())
}

// Close closes the connection. Run and all processors have ended before.
func (t *Triage) Close() {
	if nc := t.dialed(); nc != nil {
		nc.Close()
	}
}
