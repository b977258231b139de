// Package backtest runs the engine that judges in production over files, and
// says what it would have found, and at what cost.
package backtest

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// Config says what is run over which files.
type Config struct {
	Files       []string
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

// span is from an agent's first event to its last.
type span struct{ first, last event.Timestamp }

// run is a backtest at work.
type run struct {
	cfg      Config
	engine   *detect.Engine
	shared   *entity.Engine // of what the agents share
	census   *detect.Census
	decoder  event.Decoder
	event    event.Event
	events   int64
	rejected int64
	span     map[string]*span // first and last event of each agent
	sessions map[string]*session
	found    []detect.Finding
}

// Run reads the files and returns what came of it. Progress is told how many bytes of the files were read.
func Run(ctx context.Context, cfg Config, progress func(int)) (Report, error) {
	r := &run{cfg: cfg, engine: detect.New(cfg.Rules), shared: entity.New(cfg.Rules, 1), span: map[string]*span{}, sessions: map[string]*session{}}
	labels, err := readLabels(cfg.Labels)
	if err != nil {
		return Report{}, err
	}
	if !cfg.WarmupUntil.IsZero() {
		r.census = detect.NewCensus()
		r.engine.Count(r.census)
	}
	start := time.Now()
	for _, name := range cfg.Files {
		if err := r.file(ctx, name, progress); err != nil {
			return Report{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if r.census != nil {
		if err := r.freeze(); err != nil {
			return Report{}, err
		}
	}
	seconds := time.Since(start).Seconds()
	return r.report(labels, seconds), nil
}

// file gives the engine the events of one file, in the order of its lines.
func (r *run) file(ctx context.Context, name string, progress func(int)) (err error) {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var in io.Reader = counted{f, progress}
	if strings.HasSuffix(name, ".gz") {
		if in, err = gzip.NewReader(in); err != nil {
			return err
		}
	}
	base := filepath.Base(name)
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 1<<16), 4<<20)
	for line := 1; scan.Scan(); line++ {
		if len(scan.Bytes()) == 0 {
			continue
		}
		if line%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if r.decoder.Decode(scan.Bytes(), &r.event) != nil {
			r.rejected++
			continue
		}
		if r.event.ID == "" {
			r.event.ID = fmt.Sprintf("%s/%d", base, line)
		}
		if r.census != nil && !r.event.Time.Time().Before(r.cfg.WarmupUntil) {
			if err := r.freeze(); err != nil {
				return err
			}
		}
		r.observe(&r.event)
	}
	return scan.Err()
}

type counted struct {
	r    io.Reader
	tell func(int)
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.tell(n)
	return n, err
}

// freeze ends the warm-up.
func (r *run) freeze() error {
	peers := r.census.Peers("peers-"+r.cfg.WarmupUntil.UTC().Format("2006-01-02"), r.rate())
	r.census = nil
	r.engine.Count(nil)
	r.engine.UsePeers(peers)
	if r.cfg.Peers == nil {
		return nil
	}
	return r.cfg.Peers(peers)
}

func (r *run) observe(ev *event.Event) {
	a := r.span[ev.Agent]
	if a == nil {
		a = &span{ev.Time, ev.Time}
		r.span[strings.Clone(ev.Agent)] = a
	}
	a.first, a.last = min(a.first, ev.Time), max(a.last, ev.Time)
	s := r.sessions[ev.Session]
	if s == nil {
		s = &session{first: ev.Time}
		r.sessions[strings.Clone(ev.Session)] = s
	}
	s.evidence = max(s.evidence, r.engine.Evidence(ev))
	r.take(r.engine.Observe(ev, r.events, event.Source{}))
	facts := r.engine.Facts()
	for i := range facts {
		r.take(r.shared.Observe(&facts[i]))
	}
	r.events++
}

// take takes findings in. One about what agents share may be about an earlier event.
func (r *run) take(found []detect.Finding) {
	for _, f := range found {
		if s := r.sessions[f.Session]; s != nil && !s.alerted {
			s.alerted, s.delay = true, f.Time.Sub(s.first)
		}
		r.found = append(r.found, f)
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
	if len(r.span) == 0 {
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
	return float64(with-min(without, with)) / float64(len(r.span))
}
