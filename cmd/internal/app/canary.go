package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
	"github.com/stakeout-project/stakeout/triage/executor"
)

// CanaryConfig says how often an agent of ours misbehaves, to see whether the
// whole chain works: from a raw line to a verified outcome.
type CanaryConfig struct {
	Every  time.Duration `koanf:"every"`  // 0: never
	Within time.Duration `koanf:"within"` // after which a person is paged
}

// DefaultCanaryConfig lets the chain be broken for a quarter of an hour without anybody knowing.
func DefaultCanaryConfig() CanaryConfig {
	return CanaryConfig{Every: 15 * time.Minute, Within: time.Minute}
}

// Validate names every setting that cannot be used.
func (c CanaryConfig) Validate() error {
	var errs []error
	if c.Every != 0 && c.Every < time.Second {
		errs = append(errs, fmt.Errorf("every: is %s, want 1s or more, or 0s for never", c.Every))
	}
	if c.Within < time.Second || c.Every != 0 && c.Within > c.Every {
		errs = append(errs, fmt.Errorf("within: is %s, want 1s or more, and no more than every (%s)", c.Within, c.Every))
	}
	return errors.Join(errs...)
}

// ErrCanary says that a canary has not come through.
var ErrCanary = errors.New("the chain is broken")

// canary sends canaries, waits for each, and pages when one does not come through.
// It pages by itself: the chain that usually does is what may be broken.
type canary struct {
	cfg      CanaryConfig
	topic    string
	client   *stream.Client
	js       jetstream.JetStream
	signer   *command.Signer
	trust    command.Keyring
	tell     map[command.Kind]executor.Actor // page and resolve
	log      *slog.Logger
	rounds   *prometheus.CounterVec
	took     prometheus.Histogram
	closed   prometheus.Gauge
	paged    bool
	sent     []string      // canaries that detection has not been told to forget
	interval time.Duration // between two looks
}

func (p *process) newCanary(js jetstream.JetStream) (*canary, error) {
	signer, err := command.ReadSigner(p.cfg.Operator.SigningKey)
	if err != nil {
		return nil, err
	}
	actors, err := p.cfg.notifiers(p.log)
	if err != nil {
		return nil, err
	}
	c := &canary{cfg: p.cfg.Canary, topic: p.cfg.Topics.Raw[0], client: p.client, js: js, signer: signer, trust: p.cfg.Actions.Trust,
		tell: map[command.Kind]executor.Actor{}, log: p.log, interval: 100 * time.Millisecond,
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "stakeout_canary_rounds_total",
			Help: "Canaries sent, by what came of them: closed, late, unsent."}, []string{"result"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "stakeout_canary_seconds",
			Help: "Time from a canary's line on Kafka to its verified outcome.", Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}),
		closed: prometheus.NewGauge(prometheus.GaugeOpts{Name: "stakeout_canary_last_closed_timestamp_seconds",
			Help: "When a canary last came through; 0: none yet."}),
	}
	for _, a := range actors {
		c.tell[a.Kind()] = a
	}
	for _, result := range []string{"closed", "late", "unsent"} {
		c.rounds.WithLabelValues(result)
	}
	return c, errors.Join(p.reg.Register(c.rounds), p.reg.Register(c.took), p.reg.Register(c.closed))
}

// canary runs the role.
func (p *process) canary(ctx context.Context) error {
	return p.withCanary(func(c *canary) error { return c.run(ctx) })
}

// SendCanary sends one canary and returns when it has come through, or
// [ErrCanary] when a person was paged because it did not.
func SendCanary(ctx context.Context, cfg Config, log *slog.Logger) error {
	if cfg.Operator.SigningKey == "" {
		return errNoSigningKey
	}
	p := &process{cfg: cfg, log: log, reg: prometheus.NewRegistry()}
	var err error
	if p.client, err = stream.Open(cfg.Kafka, p.reg, log); err != nil {
		return err
	}
	defer p.client.Close()
	return p.withCanary(func(c *canary) error { return c.round(ctx) })
}

// withCanary connects to NATS for what do does.
func (p *process) withCanary(do func(*canary) error) error {
	nc, err := command.Connect(p.cfg.Operator.NATS, "stakeout-canary", p.log)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	c, err := p.newCanary(js)
	if err != nil {
		return err
	}
	return do(c)
}

// run sends one canary after the other until ctx ends.
func (c *canary) run(ctx context.Context) error {
	if c.cfg.Every == 0 {
		return errors.New("canary.every: is 0s, want how often one is sent")
	}
	tick := time.NewTicker(c.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := c.round(ctx); err != nil && ctx.Err() == nil {
				c.log.Error("canary did not come through", "err", err)
			}
		}
	}
}

// round sends one canary and waits until it has come through. It pages when it
// does not, and takes the page back when the next one does.
func (c *canary) round(ctx context.Context) error {
	sent := time.Now()
	agent, err := command.NewCanary(c.signer, sent)
	if err != nil {
		return err
	}
	c.sent = append(c.sent, agent)
	wait, cancel := context.WithTimeout(ctx, c.cfg.Within)
	defer cancel()
	result := "unsent"
	if err = c.send(wait, agent, sent); err == nil {
		result = "late"
		err = c.await(wait, agent)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.rounds.WithLabelValues(result).Inc()
		return errors.Join(fmt.Errorf("%w: %w", ErrCanary, err), c.notify(ctx, command.Page, agent, sent,
			fmt.Sprintf("the canary sent at %s did not come through within %s: %s. Nobody may be watching the agents", event.At(sent), c.cfg.Within, err)))
	}
	took := time.Since(sent)
	c.rounds.WithLabelValues("closed").Inc()
	c.took.Observe(took.Seconds())
	c.closed.SetToCurrentTime()
	c.log.Info("canary came through", "took", took.Round(time.Millisecond))
	if err := c.forget(ctx); err != nil {
		c.log.Warn("canary keeps its place among the agents", "err", err)
	}
	if c.paged {
		return c.notify(ctx, command.Resolve, agent, sent, "the canary comes through again")
	}
	return nil
}

// forget has detection forget all canaries so far: each has an id of its own, and would
// take an agent's place for ever.
func (c *canary) forget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Within)
	defer cancel()
	for ; len(c.sent) > 0; c.sent = c.sent[1:] {
		agent := c.sent[0]
		msg, err := command.EncodeApproval(c.signer, command.Approval{Action: command.BaselineID(agent), Agent: agent, Decision: command.Forget,
			Why: "it was a canary", Time: event.At(time.Now())})
		if err != nil {
			return err
		}
		if _, err := c.js.PublishMsg(ctx, msg); err != nil {
			return fmt.Errorf("have %s forgotten: %w", agent, err)
		}
	}
	return nil
}

// send gives an agent that nobody knows a past, and has it misbehave now.
func (c *canary) send(ctx context.Context, agent string, sent time.Time) error {
	out, err := c.client.NewProducer(ctx)
	if err != nil {
		return fmt.Errorf("send it to Kafka: %w", err)
	}
	for _, line := range canaryLines(agent, sent) {
		out.Append(c.topic, -1, []byte(agent), line)
	}
	if err := out.Flush(ctx); err != nil {
		return fmt.Errorf("send it to %s: %w", c.topic, err)
	}
	return nil
}

const (
	canaryDays  = 60
	canaryDaily = 6
)

// canaryLines are the lines of an agent that reads for two months and then pays for
// somebody who may only read: two detectors find that within the shipped budget,
// and within a fifth of it.
func canaryLines(agent string, sent time.Time) [][]byte {
	line := func(n int, at time.Time, privilege string, effect event.Effect, tool string) []byte {
		ev := event.Event{
			Time: event.At(at), Name: event.ToolCall, Agent: agent, ID: fmt.Sprint(n), Role: "stakeout-canary", Session: agent + at.Format("-20060102"),
			Tool: tool, Effect: effect, Privilege: privilege, User: "canary", PrincipalScopes: []string{"canary:read"},
		}
		return ev.AppendJSON(nil)
	}
	start := sent.AddDate(0, 0, -canaryDays)
	var lines [][]byte
	for n := range canaryDays * canaryDaily {
		lines = append(lines, line(n, start.Add(time.Duration(n)*24*time.Hour/canaryDaily), "canary:read", event.Read, "canary_read"))
	}
	return append(lines, line(len(lines), sent.Add(time.Second), "canary:pay", event.Money, "canary_pay"))
}

// await waits until triage has said that the canary's action is verified.
func (c *canary) await(ctx context.Context, agent string) error {
	subject := command.OutcomeSubject(command.CanaryID(agent))
	silence := errors.New("nothing was decided about it: it was not found, or triage is away")
	last := silence
	tick := time.NewTicker(c.interval)
	defer tick.Stop()
	for {
		status, err := c.outcome(ctx, subject)
		switch {
		case status == command.Verified:
			return nil
		case ctx.Err() != nil: // it says no more than that the time is over
		case err != nil:
			last = err
		case status == "":
			last = silence
		default:
			last = fmt.Errorf("its action is %s", status)
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

// outcome is what became of the canary's action so far; empty for nothing yet.
func (c *canary) outcome(ctx context.Context, subject string) (command.Status, error) {
	s, err := c.js.Stream(ctx, command.Actions)
	if err != nil {
		return "", fmt.Errorf("look for its outcome: %w", err)
	}
	m, err := s.GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look for its outcome: %w", err)
	}
	o, err := command.ParseOutcome(c.trust, command.Message{Subject: m.Subject, Header: m.Header, Data: m.Data})
	if err != nil {
		return "", fmt.Errorf("its outcome: %w", err)
	}
	return o.Status, nil
}

// canaryIncident names all pages of canaries, so that they are one alert.
const canaryIncident = "stakeout-canary"

// notify pages, or takes the pages back.
func (c *canary) notify(ctx context.Context, k command.Kind, agent string, sent time.Time, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	now := time.Now()
	a := command.Action{ID: command.CanaryID(string(k) + agent), Incident: canaryIncident, Kind: k, Mode: command.Auto, Target: command.Target{Agent: canaryIncident},
		Policy: "canary", Reason: reason, Findings: []string{}, Severity: 5, Occurred: event.At(sent), Decided: event.At(now), Expires: event.At(now.Add(2 * time.Minute))}
	if status, why := c.tell[k].Do(ctx, a); status != command.Verified {
		return fmt.Errorf("%s about the canary is %s: %s", k, status, why)
	}
	c.paged = k == command.Page
	return nil
}
