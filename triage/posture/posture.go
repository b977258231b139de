// Package posture lets an enforcement point know how every agent stands, without
// asking anybody.
//
// A [Feed] watches the bucket that triage keeps, believes what triage signed, and
// answers from memory: a decision costs a look-up, no request. It fails safe.
// Until the feed has begun, and when it has not heard for [Config.Stale] that
// triage is alive, every agent stands at [Config.Default] at best.
package posture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// Config says where postures come from and what holds without them.
type Config struct {
	NATS    command.NATSConfig `koanf:"nats"`
	Trust   command.Keyring    `koanf:"trust"`   // whose postures are believed: trust.triage
	Stale   time.Duration      `koanf:"stale"`   // silence of triage after which the feed is not relied on
	Default command.Standing   `koanf:"default"` // of every agent while the feed is not relied on: normal, watched, restricted or contained
}

// DefaultConfig denies what changes the world after ten seconds of silence. It
// lacks the keys.
func DefaultConfig() Config {
	return Config{NATS: command.DefaultNATSConfig(), Stale: 10 * time.Second, Default: command.Restricted}
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
	nested("trust", c.Trust.Validate())
	if len(c.Trust.Triage) == 0 {
		errs = append(errs, errors.New("trust.triage: is empty, want the public keys that postures are signed with"))
	}
	if c.Stale < 5*time.Second {
		errs = append(errs, fmt.Errorf("stale: is %s, want 5s or more: triage says every two seconds that it is alive", c.Stale))
	}
	switch c.Default {
	case command.Normal, command.Watched, command.Restricted, command.Contained:
	default:
		errs = append(errs, fmt.Errorf("default: is %.40q, want normal, watched, restricted or contained", c.Default))
	}
	return errors.Join(errs...)
}

// A Feed is what one enforcement point knows. Its methods may be called concurrently.
type Feed struct {
	cfg    Config
	log    *slog.Logger
	now    func() time.Time
	agents sync.Map     // agent id -> *command.Posture
	beat   atomic.Int64 // triage's clock at its last sign of life, by the newest we believe
	heard  atomic.Int64 // our clock when we heard it
	values *prometheus.CounterVec
}

// New makes a feed that knows nothing yet.
func New(cfg Config, reg prometheus.Registerer, log *slog.Logger) (*Feed, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	f := &Feed{cfg: cfg, log: log, now: time.Now,
		values: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "stakeout", Subsystem: "posture", Name: "values_total",
			Help: "Postures heard, by what came of them: taken, older, refused.",
		}, []string{"result"}),
	}
	for _, r := range []string{"taken", "older", "refused"} {
		f.values.WithLabelValues(r)
	}
	stale := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "stakeout", Subsystem: "posture", Name: "silence_seconds",
		Help: "Time since triage was last heard to be alive; -1 before the first time.",
	}, func() float64 {
		if f.heard.Load() == 0 {
			return -1
		}
		return f.silence().Seconds()
	})
	return f, errors.Join(reg.Register(f.values), reg.Register(stale))
}

// Run follows the bucket until ctx ends. It returns an error only for what
// waiting does not mend.
func (f *Feed) Run(ctx context.Context) error {
	nc, err := command.Connect(f.cfg.NATS, "stakeout-gateway", f.log)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 2*time.Second) {
		if err := f.watch(ctx, js); err != nil && ctx.Err() == nil {
			f.log.Warn("feed of postures interrupted", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// watch takes what stands in the bucket, and then what changes.
func (f *Feed) watch(ctx context.Context, js jetstream.JetStream) error {
	kv, err := js.KeyValue(ctx, command.PostureBucket)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", command.PostureBucket, err)
	}
	live := false // past what stood in the bucket before
	return command.Follow(ctx, kv, ">", func(e jetstream.KeyValueEntry) {
		if e.Operation() == jetstream.KeyValuePut { // a deletion is signed by nobody, and frees no one
			f.take(e.Key(), e.Value(), live)
		}
	}, func() { live = true })
}

// take believes the value under a key, if triage signed it and it is newer than what we have.
// That triage was alive is proved only by what it says while we listen.
func (f *Feed) take(key string, value []byte, live bool) {
	p, err := command.OpenPosture(f.cfg.Trust, key, value)
	if err != nil {
		f.values.WithLabelValues("refused").Inc()
		f.log.Error("posture refused", "err", err)
		return
	}
	if key == command.BeatKey {
		if int64(p.Set) <= f.beat.Load() { // played again
			return
		}
		f.beat.Store(int64(p.Set))
		if live {
			f.heard.Store(f.now().UnixNano())
		}
		return
	}
	for {
		old, loaded := f.agents.LoadOrStore(p.Agent, &p)
		if !loaded {
			break
		}
		if old.(*command.Posture).Set >= p.Set {
			f.values.WithLabelValues("older").Inc()
			return
		}
		if f.agents.CompareAndSwap(p.Agent, old, &p) {
			break
		}
	}
	f.values.WithLabelValues("taken").Inc()
}

// A Decision is how an agent stands, as far as the feed can tell.
type Decision struct {
	Standing command.Standing
	Reason   string
	Incident string
	Limits   []command.Limits // what is denied besides: see [Decision.Permits]
	Risk     *command.Risk    // as triage last told it; nil: nothing was found of the agent
	Stale    bool             // the feed is not relied on
}

// Decide says how an agent stands now.
func (f *Feed) Decide(agent string) Decision {
	d := Decision{Standing: command.Normal}
	now := f.now()
	if v, ok := f.agents.Load(agent); ok {
		p := v.(*command.Posture)
		if h, ok := p.At(event.At(now)); ok {
			d.Standing, d.Reason, d.Incident = h.Standing, h.Reason, h.Incident
		}
		d.Limits, d.Risk = p.LimitsAt(event.At(now)), p.Risk
	}
	if f.heard.Load() == 0 || f.silence() > f.cfg.Stale {
		d.Stale = true
		if f.cfg.Default.Rank() > d.Standing.Rank() {
			d.Standing, d.Reason = f.cfg.Default, "triage was not heard of lately"
		}
	}
	return d
}

func (f *Feed) silence() time.Duration { return time.Duration(f.now().UnixNano() - f.heard.Load()) }

// Allows reports whether the agent may do something with the effect.
func (d Decision) Allows(e event.Effect) bool {
	switch d.Standing {
	case command.Normal, command.Watched:
		return true
	case command.Restricted:
		return e == event.Read || e == event.Fetch
	}
	return false
}

// Ready returns an error while the feed is not relied on.
func (f *Feed) Ready() error {
	switch {
	case f.heard.Load() == 0:
		return errors.New("posture: triage was not heard of yet")
	case f.silence() > f.cfg.Stale:
		return fmt.Errorf("posture: triage was last heard of %s ago", f.silence().Round(time.Second))
	}
	return nil
}
