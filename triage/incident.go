package triage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// An incident is findings of the same agent and session. Its key is that pair;
// its id comes from its first finding too, so that what an agent without
// sessions does next month is another incident.
type incident struct {
	ID       string          `json:"id"`
	Agent    string          `json:"agent"`
	Session  string          `json:"session,omitempty"`
	Severity detect.Severity `json:"severity_id"`        // highest so far
	First    event.Timestamp `json:"first"`              // time of the first finding's event
	Ingested event.Timestamp `json:"ingested,omitempty"` // when Kafka took that event in
	Found    event.Timestamp `json:"found,omitempty"`    // when it was judged
	Last     event.Timestamp `json:"last"`               // latest time of an event
	Count    uint64          `json:"count"`
	Findings []string        `json:"findings"` // ids of the last ones, oldest first
	Outbox   []proposal      `json:"outbox,omitempty"`

	Threats   []string        `json:"threats,omitempty"`
	Detectors []string        `json:"detectors,omitempty"`
	Closed    bool            `json:"closed,omitempty"`
	Verdict   command.Verdict `json:"verdict,omitempty"`
	By        string          `json:"by,omitempty"` // the operator who closed or reopened it
	Why       string          `json:"why,omitempty"`
	Turns     int             `json:"turns,omitempty"` // how often it was closed or reopened
	Told      int             `json:"told,omitempty"`  // turns that were told
}

const (
	maxHistory = 64   // findings that an incident lists
	maxID      = 512  // bytes of a finding's id
	maxName    = 1024 // bytes of any other name, as in an event
)

// receive handles one record of the topic of findings. What is not a finding is
// counted and set aside; it never stops the partition.
func (t *Triage) receive(ctx context.Context, r *stream.Record) error {
	var f detect.Finding
	err := json.Unmarshal(r.Value, &f)
	if err == nil {
		err = check(&f)
	}
	if err == nil {
		err = t.handle(ctx, &f, stampsOf(r))
		if !errors.Is(err, command.ErrTooLarge) && !errors.Is(err, command.ErrMalformed) {
			return err
		}
	}
	t.metrics.findings.WithLabelValues("refused").Inc()
	t.log.Warn("finding refused", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", err)
	if t.rejects != nil {
		return t.rejects(ctx, *r, err)
	}
	return nil
}

// check refuses a finding that nothing can be decided on.
func check(f *detect.Finding) error {
	switch {
	case f.ID == "" || len(f.ID) > maxID:
		return fmt.Errorf("finding has an id of %d bytes, want 1 to %d", len(f.ID), maxID)
	case f.Agent == "":
		return errors.New("finding names no agent")
	case f.Time == 0:
		return errors.New("finding has no time")
	case f.Severity < detect.Informational || f.Severity > detect.Critical:
		return fmt.Errorf("finding has severity %d, want %d to %d", f.Severity, detect.Informational, detect.Critical)
	}
	for _, s := range []string{f.Agent, f.Session, f.User, f.Role, f.Tenant, f.Threat, f.Credential.ID, f.Credential.Issuer, f.Credential.Subject} {
		if len(s) > maxName {
			return fmt.Errorf("finding has a name of %d bytes, want at most %d", len(s), maxName)
		}
	}
	return nil
}

// handle takes a finding through the five steps of the package comment.
func (t *Triage) handle(ctx context.Context, f *detect.Finding, at stamps) error {
	b, err := t.connect(ctx)
	if err != nil {
		return err
	}
	seen := "seen." + hash(f.ID)
	if _, rev, err := load[string](ctx, b.incidents, seen); err != nil || rev != 0 {
		if err == nil {
			t.metrics.findings.WithLabelValues("again").Inc()
		}
		return err
	}
	key := "incident." + hash(f.Agent, f.Session)
	i, err := t.join(ctx, b, key, f, at)
	if err != nil {
		return err
	}
	if err := t.empty(ctx, b, key, i); err != nil {
		return err
	}
	if err := t.tellFinding(ctx, b, key, &i, f); err != nil {
		return err
	}
	if err := t.at("seen"); err != nil {
		return err
	}
	return mark(ctx, b.incidents, seen, i.ID)
}

// join adds f to its incident, with what is decided about it.
func (t *Triage) join(ctx context.Context, b *bus, key string, f *detect.Finding, at stamps) (incident, error) {
	for {
		i, rev, err := load[incident](ctx, b.incidents, key)
		if err != nil {
			return i, err
		}
		if rev != 0 && slices.Contains(i.Findings, f.ID) {
			return i, nil
		}
		opened := rev == 0 || i.Closed || f.Time.Sub(i.Last) > t.cfg.IncidentGap
		if opened {
			if len(i.Outbox) > 0 { // of the incident that ends here
				if err := t.empty(ctx, b, key, i); err != nil {
					return i, err
				}
				continue
			}
			i = incident{ID: hash(f.Agent, f.Session, f.ID), Agent: f.Agent, Session: f.Session, First: f.Time, Ingested: at.ingested, Found: at.found}
		}
		i.Count++
		i.grow(f)
		i.Severity, i.Last = max(i.Severity, f.Severity), max(i.Last, f.Time)
		i.Findings = append(i.Findings, f.ID)
		if n := len(i.Findings); n > maxHistory {
			i.Findings = i.Findings[n-maxHistory:]
		}
		for _, p := range propose(t.policy.Load(), &i, f, t.now()) {
			if err := fit(b, &p); err != nil {
				return i, err
			}
			i.Outbox = append(i.Outbox, p)
		}
		if err := t.at("incident"); err != nil {
			return i, err
		}
		switch _, err := save(ctx, b.incidents, key, i, rev); {
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return i, err
		}
		t.metrics.findings.WithLabelValues("new").Inc()
		if opened {
			t.metrics.incidents.Inc()
			t.metrics.opened(&i)
			t.log.Info("incident opened", "incident", i.ID, "agent", f.Agent, "severity", f.Severity, "threat", f.Threat)
		}
		return i, nil
	}
}

// fit has p quote only as many findings as a message can carry together with
// what is told of the action later, and the claim only where there is room. Without any it always fits: check bounds the
// names, and a byte of them takes at most six.
func fit(b *bus, p *proposal) error {
	const later = 14 << 10 // an executor's detail and a page's longer reason, escaped at worst
	for {
		m, err := command.EncodeOutcome(b.signer, command.Outcome{Action: p.Action, Status: command.Unverified, Time: p.Action.Decided})
		if err == nil && len(m.Data) <= command.MaxSize-later {
			return nil
		}
		switch {
		case err != nil && !errors.Is(err, command.ErrTooLarge) || p.Action.Claim == nil && len(p.Action.Findings) == 0:
			return err
		case len(p.Action.Findings) <= 1:
			p.Action.Claim = nil
		}
		p.Action.Findings = p.Action.Findings[(len(p.Action.Findings)+1)/2:]
	}
}

// empty does what the outbox of i asks for, and then takes it out.
func (t *Triage) empty(ctx context.Context, b *bus, key string, i incident) error {
	if len(i.Outbox) == 0 {
		return nil
	}
	for _, p := range i.Outbox {
		if err := t.apply(ctx, b, p); err != nil {
			return err
		}
	}
	done := func(p proposal) bool {
		return slices.ContainsFunc(i.Outbox, func(q proposal) bool { return q.Action.ID == p.Action.ID && q.Event == p.Event })
	}
	for {
		if err := t.at("outbox"); err != nil {
			return err
		}
		now, rev, err := load[incident](ctx, b.incidents, key)
		if err != nil {
			return err
		}
		n := len(now.Outbox)
		now.Outbox = slices.DeleteFunc(now.Outbox, done)
		if len(now.Outbox) == n {
			return nil
		}
		switch _, err := save(ctx, b.incidents, key, now, rev); {
		case errors.Is(err, errConflict):
			continue
		default:
			return err
		}
	}
}
