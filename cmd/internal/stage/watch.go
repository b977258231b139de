package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// A Sighting is a finding or an outcome at the moment it came out of the pipeline.
type Sighting struct {
	At      time.Time
	Finding detect.Finding
	Outcome command.Outcome
}

// A Viewer is told what happens while it happens.
type Viewer interface {
	Say(format string, args ...any)
	Progress(what string, done, total int64)
	Finding(Sighting)
	Outcome(Sighting)
}

// A Watch reads findings from Kafka and outcomes from NATS, as an observer without
// a part in the pipeline.
type Watch struct {
	app    app.Config
	client *stream.Client
	view   Viewer
	log    *slog.Logger

	mu       sync.Mutex
	found    map[string]Sighting // by id
	order    []string
	latest   map[string]command.Outcome // by action
	commands map[string]Commanded
	early    []command.Outcome // not shown yet: seen before the finding that they are about
}

func newWatch(cfg app.Config, client *stream.Client, view Viewer, log *slog.Logger) *Watch {
	return &Watch{app: cfg, client: client, view: view, log: log,
		found: map[string]Sighting{}, latest: map[string]command.Outcome{}, commands: map[string]Commanded{}}
}

const look = 20 * time.Millisecond // between two looks

// findings follows the findings topic until ctx ends.
func (w *Watch) findings(ctx context.Context) error {
	next := make([]int64, w.app.Topics.Partitions)
	for ctx.Err() == nil {
		for p := range next {
			n, err := w.client.ReadPartition(ctx, w.app.Topics.Findings, p, next[p], func(r *stream.Record) error {
				var f detect.Finding
				if err := json.Unmarshal(r.Value, &f); err != nil {
					return fmt.Errorf("finding at %d/%d: %w", p, r.Offset, err)
				}
				w.finding(f)
				return nil
			})
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			next[p] = n
		}
		if Sleep(ctx, look) != nil {
			return nil
		}
	}
	return nil
}

func (w *Watch) finding(f detect.Finding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, again := w.found[f.ID]; again {
		return
	}
	s := Sighting{At: time.Now(), Finding: f}
	w.found[f.ID] = s
	w.order = append(w.order, f.ID)
	if time.Since(f.Time.Time()) < time.Hour {
		w.view.Finding(s)
	}
	w.catchUp()
}

// catchUp shows the outcomes whose findings have come by now. Findings and outcomes
// come on two roads, and who watches wants the cause before the effect.
func (w *Watch) catchUp() {
	w.early = slices.DeleteFunc(w.early, func(o command.Outcome) bool {
		unseen := slices.ContainsFunc(o.Action.Findings, func(id string) bool { _, ok := w.found[id]; return !ok })
		if !unseen {
			w.view.Outcome(Sighting{At: time.Now(), Outcome: o})
		}
		return !unseen
	})
}

// outcomes follows the ACTIONS stream until ctx ends, message by message: an
// operator may read it, and needs no consumer for that.
func (w *Watch) outcomes(ctx context.Context) error {
	nc, err := command.Connect(w.app.Operator.NATS, "stakeout-observer", w.log)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	var s jetstream.Stream
	for seq := uint64(1); ctx.Err() == nil; {
		if s == nil {
			if s, err = js.Stream(ctx, command.Actions); err != nil {
				s = nil // triage has not made it yet
				if Sleep(ctx, look) != nil {
					return nil
				}
				continue
			}
		}
		msg, err := s.GetMsg(ctx, seq)
		switch {
		case err == nil:
			seq++
			w.message(msg)
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, jetstream.ErrMsgNotFound):
			w.log.Debug("look at actions", "err", err)
			fallthrough
		default:
			if Sleep(ctx, look) != nil {
				return nil
			}
		}
	}
	return nil
}

func (w *Watch) message(msg *jetstream.RawStreamMsg) {
	m := command.Message{Subject: msg.Subject, Header: msg.Header, Data: msg.Data}
	if a, err := command.ParseAction(w.app.Executor.Trust, m); err == nil {
		if command.Attempt(m.Header) == 1 {
			w.commanded(a, msg.Time)
		}
		return
	}
	if strings.HasPrefix(m.Subject, command.CaseSubject("")) {
		return
	}
	o, err := command.ParseOutcome(w.app.Executor.Trust, m)
	if err != nil {
		w.log.Warn("message on ACTIONS cannot be believed", "subject", m.Subject, "err", err)
		return
	}
	w.outcome(o)
}

func (w *Watch) commanded(a command.Action, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.commands[a.ID]
	if c.Times == 0 {
		c.Action, c.At = a, at
	}
	c.Times++
	w.commands[a.ID] = c
}

func (w *Watch) outcome(o command.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest[o.Action.ID] = o
	if o.Status != command.Shadowed {
		w.early = append(w.early, o)
		w.catchUp()
	}
}

// Seen is what a [Watch] has seen up to a moment.
type Seen struct {
	Findings []Sighting                 // each once, in the order they came
	Latest   map[string]command.Outcome // by action
	Commands map[string]Commanded       // by action
}

// Commanded is how an action was commanded.
type Commanded struct {
	Action command.Action
	At     time.Time // when the first command stood in the stream
	Times  int       // that it was commanded for the first time: more than once is one too many
}

// Seen returns a copy of what was seen so far.
func (w *Watch) Seen() Seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Seen{Latest: maps.Clone(w.latest), Commands: maps.Clone(w.commands)}
	for _, id := range w.order {
		s.Findings = append(s.Findings, w.found[id])
	}
	return s
}

// Settled reports whether every attack is contained and no command is open.
func (s Seen) Settled(labels []simulate.Label) bool {
	for _, o := range s.Latest {
		if o.Status == command.Commanded || o.Status == command.Waiting {
			return false
		}
	}
	for _, l := range labels {
		if _, contained := s.Contained(s.About(l)); !contained {
			return false
		}
	}
	return true
}

// About returns the findings about an attack: those in its sessions, or that rest on one of its events.
func (s Seen) About(l simulate.Label) (about []Sighting) {
	for _, f := range s.Findings {
		if slices.Contains(l.Sessions, f.Finding.Session) || slices.ContainsFunc(f.Finding.Evidence, func(e string) bool { return slices.Contains(l.Events, e) }) {
			about = append(about, f)
		}
	}
	return about
}

// Contained returns when the first token was verified to be revoked because of one of the findings.
func (s Seen) Contained(about []Sighting) (at time.Time, ok bool) {
	for _, o := range s.Latest {
		if o.Status != command.Verified || o.Action.Kind != command.RevokeToken {
			continue
		}
		for _, f := range about {
			if t := o.Time.Time(); slices.Contains(o.Action.Findings, f.Finding.ID) && (!ok || t.Before(at)) {
				at, ok = t, true
			}
		}
	}
	return at, ok
}
