// Package backtest runs the engines that judge in production over files or a
// stretch of Kafka, and says what they would have found, and at what cost.
package backtest

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// Config says what is run over which events.
type Config struct {
	Files       []string
	Kafka       *Range    // read instead of files; may be nil
	Labels      string    // file of labels by session; empty: nothing is known to be an attack
	WarmupUntil time.Time // what is normal for peers is learned before, and frozen then; zero: peers are not used
	Rules       detect.Rules
	Peers       func(*detect.Peers) error // is told what was learned; may be nil
}

// session is what is kept of one session.
type session struct {
	first    event.Timestamp
	evidence float64 // the largest
	alerted  bool
	delay    time.Duration // to the first finding
}

// run is a backtest at work.
type run struct {
	cfg      Config
	engine   *detect.Engine
	entities *entity.Engine
	census   *detect.Census
	events   int64
	agents   map[string]*agent
	sessions map[string]*session
	found    []finding
}

// finding is a finding with what is known of its agent then.
type finding struct {
	detect.Finding
	group    string
	maturity int
}

func newRun(cfg Config) *run {
	r := &run{cfg: cfg, engine: detect.New(cfg.Rules), entities: entity.New(cfg.Rules), agents: map[string]*agent{}, sessions: map[string]*session{}}
	if !cfg.WarmupUntil.IsZero() {
		r.census = detect.NewCensus()
		r.engine.Count(r.census)
	}
	return r
}

// Run reads the events and returns what came of it. Progress is told how many
// bytes of the files were read, or how many records of Kafka.
func Run(ctx context.Context, cfg Config, progress func(int)) (Report, error) {
	labels, err := readLabels(cfg.Labels)
	if err != nil {
		return Report{}, err
	}
	r := newRun(cfg)
	start := time.Now()
	rejected, err := read(ctx, cfg, progress, r.take)
	if err != nil {
		return Report{}, err
	}
	if err := r.freeze(); err != nil {
		return Report{}, err
	}
	rep := r.report(labels, time.Since(start).Seconds())
	rep.Rejected = rejected
	return rep, nil
}

// freeze ends the warm-up, if it has not ended.
func (r *run) freeze() error {
	if r.census == nil {
		return nil
	}
	peers := r.census.Peers("peers-"+r.cfg.WarmupUntil.UTC().Format("2006-01-02"), r.rate())
	r.census = nil
	r.engine.Count(nil)
	r.engine.UsePeers(peers)
	if r.cfg.Peers == nil {
		return nil
	}
	if len(peers.Groups) == 0 {
		return errors.New("learn what is normal for peers: there are too few sessions before the end of the warm-up")
	}
	return r.cfg.Peers(peers)
}

// take gives one event to the engines.
func (r *run) take(ev *event.Event, src event.Source, op detect.Operation) error {
	if !r.cfg.WarmupUntil.IsZero() && !ev.Time.Time().Before(r.cfg.WarmupUntil) {
		if err := r.freeze(); err != nil {
			return err
		}
	}
	offset := r.events
	r.events++
	if op != "" {
		return r.engine.Operate(op, ev, offset, src)
	}
	a := r.agents[ev.Agent]
	if a == nil {
		a = newAgent(ev)
		r.agents[strings.Clone(ev.Agent)] = a
	}
	s := r.sessions[ev.Session]
	if s == nil {
		s = &session{first: ev.Time}
		r.sessions[strings.Clone(ev.Session)] = s
	}
	s.evidence = max(s.evidence, r.engine.Evidence(ev))
	before := r.engine.Stats()
	r.note(r.engine.Observe(ev, offset, src))
	facts := r.engine.Facts()
	for i := range facts {
		r.note(r.entities.Observe(&facts[i]))
	}
	after, risked := r.engine.Stats(), 0.0
	for slot, all := range after.Risked {
		risked += all - before.Risked[slot]
	}
	a.take(ev, risked)
	return nil
}

// note keeps findings.
func (r *run) note(found []detect.Finding) {
	for _, f := range found {
		kept := finding{Finding: f, group: groupName(f.Role, f.Tenant)}
		if a := r.agents[f.Agent]; a != nil {
			kept.group, kept.maturity = a.group(), a.maturity()
		}
		r.found = append(r.found, kept)
		if s := r.sessions[f.Session]; s != nil && !s.alerted {
			s.alerted, s.delay = true, f.Time.Sub(s.first)
		}
	}
}

// rate is the budget of the detector that holds agents against their peers.
func (r *run) rate() float64 {
	for _, d := range r.cfg.Rules.Detectors {
		if d.About().Name == (detect.Provenance{}).About().Name {
			return d.Share * r.cfg.Rules.Budget
		}
	}
	return r.cfg.Rules.Budget
}

// memory is how many bytes the engine takes for an agent.
func (r *run) memory() float64 {
	if len(r.agents) == 0 {
		return 0
	}
	measure := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	with := measure()
	r.engine = nil
	without := measure()
	return float64(with-min(without, with)) / float64(len(r.agents))
}
