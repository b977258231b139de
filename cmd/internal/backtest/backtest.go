// Package backtest runs the engines that judge in production over files or a
// stretch of Kafka, and says what they would have found, and at what cost.
package backtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	Kafka       *Range        // read instead of files; may be nil
	Labels      string        // file of labels by session; empty: nothing is known to be an attack
	WarmupUntil time.Time     // what is normal for peers is learned before, and frozen then; zero: it is as InForce says
	InForce     *detect.Peers // nil: peers are not used
	Rules       detect.Rules
	Trust       detect.Trust              // whose word about an agent is taken, as far as it is known where it came by; nil: anybody's
	Peers       func(*detect.Peers) error // is told what was learned; may be nil
	Findings    io.Writer                 // gets each finding as a line of JSON; may be nil
}

// session is what is kept of one session.
type session struct {
	agent    *agent
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
	known    map[string]bool // ids of the findings: what comes again after a repeat is the same
	peers    *detect.Peers   // in force, or learned before the end of the warm-up
	told     told
}

// finding is a finding with what is known of its agent then.
type finding struct {
	detect.Finding
	group    string
	maturity int
}

func newRun(cfg Config) *run {
	r := &run{cfg: cfg, engine: detect.New(cfg.Rules), entities: entity.New(cfg.Rules), agents: map[string]*agent{}, sessions: map[string]*session{}, known: map[string]bool{}}
	r.engine.UseTrust(cfg.Trust)
	switch {
	case !cfg.WarmupUntil.IsZero():
		r.census = detect.NewCensus()
		r.engine.Count(r.census)
	case cfg.InForce != nil:
		r.peers = cfg.InForce
		r.engine.UsePeers(r.peers)
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
	start := time.Now()
	runs, no, err := play(ctx, cfg, progress, cfg.Rules)
	if err != nil {
		return Report{}, err
	}
	r := runs[0]
	if cfg.Peers != nil {
		if len(r.peers.Groups) == 0 {
			return Report{}, errors.New("learn what is normal for peers: there are too few sessions before the end of the warm-up; give it more events, or a later end")
		}
		if err := cfg.Peers(r.peers); err != nil {
			return Report{}, err
		}
	}
	if cfg.Findings != nil {
		if err := r.write(cfg.Findings); err != nil {
			return Report{}, err
		}
	}
	rep := r.report(labels, time.Since(start).Seconds())
	rep.Rejected, rep.FirstRejected = no.n, no.first
	rep.Notes = r.notes(labels, cfg.Labels != "")
	return rep, nil
}

// write writes each finding as a line of JSON, in the order in which they were made.
func (r *run) write(to io.Writer) error {
	enc := json.NewEncoder(to)
	for _, f := range r.found {
		if err := enc.Encode(f.Finding); err != nil {
			return fmt.Errorf("write findings: %w", err)
		}
	}
	return nil
}

// play judges the events by each of the rules. Peers are learned from all agents,
// so files that are far from the order of time, as where agent follows upon agent,
// are read again in that order.
func play(ctx context.Context, cfg Config, progress func(int), rules ...detect.Rules) ([]*run, rejected, error) {
	begin := func() (runs []*run) {
		for _, r := range rules {
			cfg.Rules = r
			runs = append(runs, newRun(cfg))
		}
		return runs
	}
	runs := begin()
	all := func(ev *event.Event, src event.Source, op detect.Operation) error {
		for _, r := range runs {
			if err := r.take(ev, src, op); err != nil {
				return err
			}
		}
		return nil
	}
	take := all
	if cfg.Kafka == nil && !cfg.WarmupUntil.IsZero() {
		take = inOrder(cfg.WarmupUntil, all)
	}
	no, err := read(ctx, cfg, progress, take)
	if errors.Is(err, errUnordered) {
		runs = begin()
		no, err = readMerged(ctx, cfg, progress, all)
	}
	for _, r := range runs {
		r.freeze()
	}
	return runs, no, err
}

// freeze ends the warm-up, if it has not ended.
func (r *run) freeze() {
	if r.census == nil {
		return
	}
	r.peers = r.census.Peers("peers-"+r.cfg.WarmupUntil.UTC().Format("2006-01-02"), r.cfg.Rules)
	r.census = nil
	r.engine.Count(nil)
	r.engine.UsePeers(r.peers)
}

// take gives one event to the engines.
func (r *run) take(ev *event.Event, src event.Source, op detect.Operation) error {
	if !r.cfg.WarmupUntil.IsZero() && !ev.Time.Time().Before(r.cfg.WarmupUntil) {
		r.freeze()
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
		s = &session{agent: a, first: ev.Time}
		if ev.Session != "" {
			r.sessions[strings.Clone(ev.Session)] = s
		}
	}
	r.told.take(ev)
	evidence := 0.0
	if r.engine.Trusts(ev, src) {
		evidence = r.engine.Evidence(ev)
	}
	before := r.engine.Stats()
	r.note(r.engine.Observe(ev, offset, src))
	facts := r.engine.Facts()
	for i := range facts {
		facts[i].Source = src.Topic
		r.note(r.entities.Observe(&facts[i]))
	}
	after, risked := r.engine.Stats(), 0.0
	if after.Repeated > before.Repeated {
		return nil
	}
	s.evidence = max(s.evidence, evidence)
	for slot, all := range after.Risked {
		risked += all - before.Risked[slot]
	}
	a.take(ev, risked)
	return nil
}

// note keeps findings.
func (r *run) note(found []detect.Finding) {
	for _, f := range found {
		if r.known[f.ID] {
			continue
		}
		r.known[f.ID] = true
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

// memory is how many bytes the engine takes for an agent, beside what one takes without any.
func (r *run) memory() float64 {
	if len(r.agents) == 0 {
		return 0
	}
	measure := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // a pool lets go of what it holds at the second
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	facts := r.engine.Facts()
	clear(facts[:cap(facts)]) // these hold on to the lines that were read
	empty := detect.New(r.cfg.Rules)
	both := measure()
	runtime.KeepAlive(empty)
	empty = nil
	full := measure()
	r.engine = nil
	return max((full-measure())-(both-full), 0) / float64(len(r.agents))
}
