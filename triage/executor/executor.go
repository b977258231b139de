// Package executor carries out what triage commands, looks whether it worked,
// and answers with what it saw.
//
// An executor believes nobody but the triage keys it was given: the bus it hears
// a command on may be anyone's. It carries an action out once however often it
// is told, and answers every time with the same answer.
package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// An Actor carries out one kind of action and verifies it.
//
// Do returns verified only for what it has seen to be so, and one sentence for
// a person. It returns before ctx ends, which is when the command expires, and
// may be called again for the same action when the process ended meanwhile.
type Actor interface {
	Kind() command.Kind
	Do(ctx context.Context, a command.Action) (command.Status, string)
}

// Config says where an executor works and as whom.
type Config struct {
	NATS       command.NATSConfig `koanf:"nats"`
	SigningKey string             `koanf:"signing_key"` // file with the seed (SA...) that answers are signed with
	Trust      command.Keyring    `koanf:"trust"`       // whose commands are believed
	Hands      int                `koanf:"hands"`       // actions of a kind that are carried out at the same time: one slow server must not hold up the others
	Timeout    time.Duration      `koanf:"timeout"`     // of one request to NATS
}

// DefaultConfig works against a NATS server on this machine. It lacks the keys.
func DefaultConfig() Config {
	return Config{NATS: command.DefaultNATSConfig(), Hands: 8, Timeout: 5 * time.Second}
}

// Validate lists everything wrong with c.
func (c Config) Validate() error {
	var errs []error
	nested := func(key string, err error) {
		if err == nil {
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			errs = append(errs, fmt.Errorf("%s.%s", key, line))
		}
	}
	nested("nats", c.NATS.Validate())
	if c.SigningKey == "" {
		errs = append(errs, errors.New("signing_key: is empty, want the file of the seed that answers are signed with"))
	}
	nested("trust", c.Trust.Validate())
	if len(c.Trust.Triage) == 0 {
		errs = append(errs, errors.New("trust.triage: is empty, want the public keys that may command"))
	}
	if c.Hands < 1 || c.Hands > 100 {
		errs = append(errs, fmt.Errorf("hands: is %d, want 1 to 100", c.Hands))
	}
	if c.Timeout < 10*time.Millisecond {
		errs = append(errs, fmt.Errorf("timeout: is %s, want 10ms or more", c.Timeout))
	}
	return errors.Join(errs...)
}

// Executor is one executor process with its actors.
type Executor struct {
	cfg      Config
	actors   []Actor
	commands *prometheus.CounterVec
	log      *slog.Logger
	now      func() time.Time
	nc       atomic.Pointer[nats.Conn] // nil until Run has connected
}

// New makes an executor that does nothing yet.
func New(cfg Config, reg prometheus.Registerer, log *slog.Logger, actors ...Actor) (*Executor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(actors) == 0 {
		return nil, errors.New("an executor without actors has nothing to do")
	}
	for _, a := range actors {
		if !slices.Contains(command.DefaultLayout().Kinds, a.Kind()) {
			return nil, fmt.Errorf("an executor of %s would never be asked", a.Kind())
		}
	}
	e := &Executor{cfg: cfg, actors: actors, log: log, now: time.Now,
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "stakeout", Subsystem: "executor", Name: "commands_total",
			Help: "Commands heard, by what came of them: verified, unverified, failed, repeated, expired, refused.",
		}, []string{"kind", "result"}),
	}
	if err := reg.Register(e.commands); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return e, nil
}

// Run carries out commands until ctx ends. It returns an error only for what waiting does not mend.
func (e *Executor) Run(ctx context.Context) error {
	signer, err := command.ReadSigner(e.cfg.SigningKey)
	if err != nil {
		return err
	}
	nc, err := command.Connect(e.cfg.NATS, "stakeout-executor", e.log)
	if err != nil {
		return err
	}
	defer nc.Close()
	e.nc.Store(nc)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(e.cfg.Timeout))
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, actor := range e.actors {
		h := hand{Executor: e, actor: actor, signer: signer, js: js}
		consumer := command.ExecutorConsumer(actor.Kind())
		g.Go(func() error {
			// One waits for the consumer, so that one tells of it.
			if _, err := command.Bind(ctx, js, command.Actions, consumer, e.log); err != nil {
				return nil // we are being stopped
			}
			for range e.cfg.Hands {
				g.Go(func() error {
					command.Consume(ctx, js, command.Actions, consumer, 1, e.log, h.hear)
					return nil
				})
			}
			return nil
		})
	}
	return g.Wait()
}

// Ready returns an error while NATS is away.
func (e *Executor) Ready() error { return command.Down(e.nc.Load()) }

// hand is one actor at work.
type hand struct {
	*Executor
	actor  Actor
	signer *command.Signer
	js     jetstream.JetStream
}

// begun is what stands under an action's id as soon as somebody begins to carry it out.
type begun struct {
	Message uint64       `json:"message,omitempty"` // sequence of the message by which it was begun
	Ack     *command.Ack `json:"ack,omitempty"`     // nil while it is not known how it ended
}

// hear takes one message. What triage has not signed is counted and dropped
// without an answer: there is nobody to answer to.
func (h hand) hear(ctx context.Context, m jetstream.Msg) error {
	a, err := command.ParseAction(h.cfg.Trust, command.Message{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
	if err == nil && a.Kind != h.actor.Kind() {
		err = fmt.Errorf("action %s: is a %s: %w", a.ID, a.Kind, command.ErrMalformed)
	}
	if err == nil && a.Mode == command.Shadow {
		err = fmt.Errorf("action %s: is in shadow mode: %w", a.ID, command.ErrMalformed)
	}
	if err != nil {
		h.count("refused")
		h.log.Error("command refused", "subject", m.Subject(), "err", err)
		return nil
	}
	kv, err := h.js.KeyValue(ctx, command.ExecutedBucket)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", command.ExecutedBucket, err)
	}
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("action %s: %w", a.ID, err)
	}
	rev, known, err := h.begin(ctx, kv, a, meta.Sequence.Stream)
	if err != nil {
		return err
	}
	if known.Ack != nil {
		h.count("repeated")
		return h.answer(ctx, *known.Ack)
	}
	if err := a.Fresh(h.now()); err != nil {
		h.count("expired")
		h.log.Warn("command refused", "action", a.ID, "err", err)
		return h.finish(ctx, kv, a, rev, command.Failed, "the command had expired when it was heard")
	}
	stop := keepAlive(ctx, m, h.log)
	status, detail := h.do(ctx, a)
	stop()
	h.count(string(status))
	h.log.Info("action carried out", "action", a.ID, "kind", a.Kind, "agent", a.Target.Agent, "status", status, "detail", detail)
	return h.finish(ctx, kv, a, rev, status, detail)
}

// begin writes down that the action is begun, by create-only. Of an action that
// was begun before it returns how it ended. If it did not end, then the message
// that began it is either being worked on or will come again; and if this is that
// message, come again, then whoever worked on it has gone, and carrying the action
// out a second time is better than not knowing.
func (h hand) begin(ctx context.Context, kv jetstream.KeyValue, a command.Action, message uint64) (rev uint64, known begun, err error) {
	raw, err := json.Marshal(begun{Message: message})
	if err != nil {
		return 0, begun{}, err
	}
	rev, err = kv.Create(ctx, a.ID, raw)
	if err == nil {
		return rev, begun{}, nil
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return 0, begun{}, fmt.Errorf("begin action %s: %w", a.ID, err)
	}
	e, err := kv.Get(ctx, a.ID)
	if err != nil {
		return 0, begun{}, fmt.Errorf("begin action %s: %w", a.ID, err)
	}
	if err := json.Unmarshal(e.Value(), &known); err != nil {
		return 0, begun{}, fmt.Errorf("begin action %s: %w", a.ID, err)
	}
	if known.Ack == nil && known.Message != message {
		return 0, begun{}, fmt.Errorf("action %s: is being carried out because of another message", a.ID)
	}
	return e.Revision(), known, nil
}

// do carries the action out before it expires.
func (h hand) do(ctx context.Context, a command.Action) (command.Status, string) {
	ctx, cancel := context.WithDeadline(ctx, a.Expires.Time())
	defer cancel()
	return h.actor.Do(ctx, a)
}

// finish writes down how the action ended, and then answers: an answer is never
// given that a repeated command would not be given too.
func (h hand) finish(ctx context.Context, kv jetstream.KeyValue, a command.Action, rev uint64, s command.Status, detail string) error {
	if ctx.Err() != nil { // we are being stopped: how it ended is not known
		return ctx.Err()
	}
	ack := command.Ack{Action: a.ID, Status: s, Detail: shorten(detail), Time: event.At(h.now())}
	raw, err := json.Marshal(begun{Ack: &ack})
	if err != nil {
		return err
	}
	if _, err := kv.Update(ctx, a.ID, raw, rev); err != nil {
		return fmt.Errorf("finish action %s: %w", a.ID, err) // somebody else finished it, or NATS is away: hear it again
	}
	return h.answer(ctx, ack)
}

func (h hand) answer(ctx context.Context, ack command.Ack) error {
	m, err := command.EncodeAck(h.signer, ack)
	if err != nil {
		return err
	}
	if _, err := h.js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("answer for action %s: %w", ack.Action, err)
	}
	return nil
}

func (h hand) count(result string) {
	h.commands.WithLabelValues(string(h.actor.Kind()), result).Inc()
}

// keepAlive tells the server that the message is being worked on, until stop.
func keepAlive(ctx context.Context, m jetstream.Msg, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := m.InProgress(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
					log.Warn("cannot tell that work goes on", "err", err)
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

// shorten keeps a sentence within what an answer may hold.
func shorten(s string) string {
	const most = 1000
	if len(s) <= most {
		return s
	}
	for i := most; ; i-- {
		if s[i]&0xC0 != 0x80 {
			return s[:i] + "..."
		}
	}
}
