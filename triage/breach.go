package triage

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// BreachDetector names the detector of findings about agents that act although
// they were stopped.
const BreachDetector = "containment_breach"

// Send puts a finding into the topic of findings: found is the record of the
// event it is about, and trust the version of the list of trusted sources by which
// that is the word of who may speak for the agent; empty where it is not.
type Send func(ctx context.Context, f detect.Finding, found *stream.Record, trust string) error

// A Breach watches the events of agents that were stopped. An executor that says
// it revoked a token, and an identity provider that confirms it, may both be
// wrong: whether an agent has stopped shows in what it does. Whatever it does
// after a verified stop, and a little later than that by its own clock, is a
// finding, one for each stop and acting agent, which takes the ordinary way.
//
// Only the key and one field of an event are looked at unless they name
// somebody who was stopped.
type Breach struct {
	t       *Triage
	send    Send
	stopped *stopped
	found   *prometheus.CounterVec // by kind of the stop
}

// NewBreach makes a watch of what stopped agents do, on the connection of t.
func NewBreach(t *Triage, send Send, reg prometheus.Registerer) (*Breach, error) {
	w := &Breach{t: t, send: send, stopped: newStopped(), found: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "stakeout", Subsystem: "triage", Name: "breaches_total",
		Help: "Agents that acted after a verified stop, by its kind.",
	}, []string{"kind"})}
	for _, k := range []command.Kind{command.RevokeToken, command.Suspend, command.Restrict, command.TerminateSession} {
		w.found.WithLabelValues(string(k))
	}
	watched := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "stakeout", Subsystem: "triage", Name: "stops_watched", Help: "Verified stops that events are held against.",
	}, func() float64 {
		_, n := w.stopped.known()
		return float64(n)
	})
	for _, c := range []prometheus.Collector{w.found, watched} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return w, nil
}

// Run follows who is stopped until ctx ends.
func (w *Breach) Run(ctx context.Context) error {
	if b, err := w.t.await(ctx); b == nil {
		return err
	}
	w.t.followStops(ctx, w.stopped)
	return nil
}

// Open implements [stream.Opener] for the topic of events.
func (w *Breach) Open(context.Context, stream.Owned) (stream.Processor, error) {
	return &watcher{Breach: w, told: map[string]bool{}}, nil
}

// watcher watches one partition of events.
type watcher struct {
	*Breach
	told    map[string]bool // ids of findings that were sent; sent again they would change nothing
	decoder event.Decoder
	event   event.Event
}

const maxTold = 10_000

func (w *watcher) Checkpoint(context.Context) error { return nil }

// Process implements [stream.Processor]. It waits while it is not known who is stopped.
func (w *watcher) Process(ctx context.Context, batch []stream.Record) error {
	for {
		live, n := w.stopped.known()
		if live && n == 0 {
			return nil
		}
		if live {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond): // between two looks
		}
	}
	for i := range batch {
		if err := w.look(ctx, &batch[i]); err != nil {
			return fmt.Errorf("watch event at %s/%d/%d: %w", batch[i].Topic, batch[i].Partition, batch[i].Offset, err)
		}
	}
	return nil
}

func (w *watcher) look(ctx context.Context, r *stream.Record) error {
	stops := w.stopped.about(r.Key, credentialIn(r.Value))
	if len(stops) == 0 {
		return nil
	}
	if err := w.decoder.Decode(r.Value, &w.event); err != nil {
		return nil // detection has set it aside
	}
	for _, s := range stops {
		what, broken := s.broken(&w.event, w.t.cfg.BreachSlack)
		if !broken {
			continue
		}
		f := breach(&s, &w.event, what)
		trust, ok := s.trust(w.t.policy.Load(), &w.event, r)
		if !ok { // it is not to stand in for what the agent does itself
			f.ID = hash(f.ID, "untrusted")
		}
		if w.told[f.ID] {
			continue
		}
		if err := w.send(ctx, f, r, trust); err != nil {
			return err
		}
		if len(w.told) >= maxTold { // a stolen credential in the hands of many
			clear(w.told)
		}
		w.told[f.ID] = true
		w.found.WithLabelValues(string(s.Kind)).Inc()
		w.t.log.Warn("a stopped agent acts", "agent", f.Agent, "action", s.Action, "incident", s.Incident, "finding", f.ID)
	}
	return nil
}

// trust is the version of the list of trusted sources in the policy; ok is false where by that
// the source of an event may not speak for its agent. A line names its own tenant: that of who was
// stopped is known, and of anybody else none is.
func (s *stop) trust(p *Policy, ev *event.Event, r *stream.Record) (version string, ok bool) {
	tenant := ""
	if ev.Agent == s.Agent {
		tenant = s.Tenant
	}
	if !p.trusts(stampsOf(r).topic, ev.Agent, tenant) {
		return "", false
	}
	return p.TrustVersion(), true
}

// credentialIn returns the id of the credential in an encoded event. Where the
// id needs escaping it is returned escaped, and matches nothing.
func credentialIn(line []byte) []byte {
	_, rest, ok := bytes.Cut(line, []byte(`"stakeout.credential.id":"`))
	if !ok {
		return nil
	}
	id, _, _ := bytes.Cut(rest, []byte(`"`))
	return id
}

// breach is the finding that an event is after a stop. The same stop and agent
// always get the same id.
func breach(s *stop, ev *event.Event, what string) detect.Finding {
	tool := ev.Tool
	if tool == "" {
		tool = string(ev.Name)
	}
	f := detect.Finding{
		ID: hash(BreachDetector, s.Action, ev.Agent), Detector: BreachDetector, Threat: detect.CredentialEscalation, Severity: detect.Critical, Time: ev.Time,
		Agent: ev.Agent, Role: ev.Role, Tenant: ev.Tenant, Session: ev.Session, User: ev.User,
		Credential: detect.Credential{ID: ev.CredentialID, Issuer: ev.CredentialIssuer, Subject: ev.CredentialSubject},
		Reason:     fmt.Sprintf("%s goes on although it was stopped: %s with %s", ev.Agent, tool, what),
		Observed:   fmt.Sprintf("%s of %s, %s after %s of incident %s was verified", ev.Name, tool, ev.Time.Sub(s.Since).Round(time.Millisecond), s.Kind, s.Incident),
		Baseline:   "after a verified stop an agent does nothing",
		Event:      ev.ID, Evidence: []string{ev.ID}, ASI: []string{"ASI03", "ASI10"}, ATLAS: []string{"AML.T0091.000"}, Rules: s.Action,
		Entities: []detect.Entity{{Kind: incidentEntity, Name: s.Incident}},
	}
	if ev.Agent == s.Agent && s.Tenant != "" {
		f.Tenant = s.Tenant
	}
	if s.Credential != "" && f.Credential.ID == "" { // the stop's is what can be addressed
		f.Credential = detect.Credential{ID: s.Credential, Issuer: s.Issuer}
	}
	for _, field := range []*string{&f.Agent, &f.Role, &f.Tenant, &f.Session, &f.User, &f.Credential.ID, &f.Credential.Issuer, &f.Credential.Subject, &f.Event, &f.Evidence[0]} {
		*field = strings.Clone(*field) // it points into the line of the event
	}
	return f
}

// escalate is the page that a breach calls for, whatever else the policy does:
// what was thought to be over is not.
func escalate(i *incident, f *detect.Finding, at stamps, now time.Time) proposal {
	step := lastPage()
	return proposal{Ladder: []Step{step}, Event: f.Time, Action: command.Action{
		ID: hash(i.ID, string(command.Page), f.ID), Incident: i.ID, Kind: step.Kind, Mode: step.Mode, Policy: "containment",
		Target: command.Target{Agent: f.Agent, Session: f.Session, User: f.User, Credential: f.Credential.ID, Issuer: f.Credential.Issuer, Subject: f.Credential.Subject},
		Reason: cut(f.Reason, maxText), Findings: []string{f.ID}, Severity: int(f.Severity), Claim: claim(f),
		Occurred: f.Time, Ingested: at.ingested, Found: at.found, Decided: event.At(now), Expires: event.At(now.Add(step.expires())),
	}}
}
