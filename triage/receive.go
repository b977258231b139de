package triage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// receive handles one record of the topic of findings. What is not a finding is
// counted and set aside; it never stops the partition.
func (t *Triage) receive(ctx context.Context, p *processor, r *stream.Record) error {
	t.busy.Store(time.Now().UnixNano())
	defer func() { t.busy.Store(time.Now().UnixNano()) }()
	var f detect.Finding
	err := json.Unmarshal(r.Value, &f)
	if err == nil {
		err = check(&f)
	}
	if err != nil {
		return t.refuse(ctx, r, err)
	}
	l, err := t.handle(ctx, &f, stampsOf(r))
	if err != nil || l == nil {
		return t.settled(ctx, r, err)
	}
	return t.looking(ctx, p, r, l)
}

// settled has the record of a finding refused if what came of handling it says so.
func (t *Triage) settled(ctx context.Context, r *stream.Record, err error) error {
	if errors.Is(err, command.ErrTooLarge) || errors.Is(err, command.ErrMalformed) {
		return t.refuse(ctx, r, err)
	}
	return err
}

// refuse counts a record that nothing can be done with, and sets it aside.
func (t *Triage) refuse(ctx context.Context, r *stream.Record, err error) error {
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
	names := []string{f.Agent, f.Session, f.User, f.Role, f.Tenant, f.Threat, f.Credential.ID, f.Credential.Issuer, f.Credential.Subject}
	for _, e := range f.Entities {
		names = append(names, string(e.Kind), e.Name)
	}
	for _, s := range names {
		if len(s) > maxName {
			return fmt.Errorf("finding has a name of %d bytes, want at most %d", len(s), maxName)
		}
	}
	return nil
}

// handle takes a finding through the steps of the package comment up to what is to be
// told of it; it returns nothing for one that is marked as seen, or that needs no telling.
func (t *Triage) handle(ctx context.Context, f *detect.Finding, at stamps) (*look, error) {
	b, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	seen := "seen." + hash(f.ID)
	if _, rev, err := load[string](ctx, b.incidents, seen); err != nil || rev != 0 {
		if err == nil {
			t.metrics.findings.WithLabelValues("again").Inc()
		}
		return nil, err
	}
	if sent, ok := command.IsCanary(t.cfg.Trust, f.Agent, t.now()); ok {
		if err := t.answerCanary(ctx, b, f, at, event.At(sent)); err != nil {
			return nil, err
		}
		return nil, mark(ctx, b.incidents, seen, command.CanaryID(f.Agent))
	}
	i, err := t.join(ctx, b, f, at)
	if err != nil {
		return nil, err
	}
	if err := t.empty(ctx, b, i); err != nil {
		return nil, err
	}
	chain, err := t.assess(ctx, b, f, at, i.suppression(f)) // which has counted it
	if err != nil {
		return nil, err
	}
	if err := t.tellRisks(ctx, b, chain, i.ID); err != nil {
		return nil, err
	}
	return &look{b, f, i, chain[0]}, nil
}

// join adds f to the incident it belongs to, with what is decided about it.
func (t *Triage) join(ctx context.Context, b *bus, f *detect.Finding, at stamps) (*incident, error) {
	for {
		home, err := t.place(ctx, b, f, at)
		if err != nil {
			return nil, err
		}
		i, err := t.joinAt(ctx, b, home.ID, f, at)
		if !errors.Is(err, errMoved) {
			return i, err
		}
	}
}

func (t *Triage) joinAt(ctx context.Context, b *bus, id string, f *detect.Finding, at stamps) (*incident, error) {
	for {
		i, err := loadIncident(ctx, b, id)
		switch {
		case err != nil:
			return nil, err
		case i.has(f):
			return i, nil
		case !i.open():
			return nil, errMoved
		}
		policy := t.policy.Load()
		heard := at.heard(policy, f)
		suppression, err := t.suppressed(ctx, b, f, heard)
		if err != nil {
			return nil, err
		}
		chain, err := t.assess(ctx, b, f, at, suppression)
		if err != nil {
			return nil, err
		}
		opened := i.Count == 0
		i.add(f)
		score := chain[0].score(policy.Risk, f.Time)
		if i.Risk == nil || i.Risk.At(score.Time) < score.Score {
			i.Risk = &score
		}
		i.judged(f, suppression, heard)
		var proposals []proposal
		if suppression == "" {
			proposals = propose(policy, i, f, &chain[0], at, t.now())
		}
		if certain(f) {
			proposals = append(proposals, escalate(i, f, at, t.now()))
		}
		for _, p := range proposals {
			if err := fit(b, &p); err != nil {
				return nil, err
			}
			i.Outbox = append(i.Outbox, p)
		}
		if err := t.at("incident"); err != nil {
			return nil, err
		}
		switch err := saveIncident(ctx, b, i); {
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return nil, err
		}
		t.metrics.findings.WithLabelValues("new").Inc()
		if suppression != "" {
			t.metrics.suppressed.Inc()
		}
		if opened {
			t.metrics.incidents.Inc()
			t.metrics.opened(i)
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
func (t *Triage) empty(ctx context.Context, b *bus, i *incident) error {
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
		now, err := loadIncident(ctx, b, i.ID)
		if err != nil {
			return err
		}
		n := len(now.Outbox)
		now.Outbox = slices.DeleteFunc(now.Outbox, done)
		if len(now.Outbox) == n {
			return nil
		}
		switch err := saveIncident(ctx, b, now); {
		case errors.Is(err, errConflict):
			continue
		default:
			return err
		}
	}
}
