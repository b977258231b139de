package triage

import (
	"context"
	"slices"
	"sync"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// A look is a finding of which all is done but to tell of it: its actions are
// commanded. So nobody who is to be stopped waits for what is stored.
type look struct {
	b        *bus
	finding  *detect.Finding
	incident *incident
	own      risk
}

// lookers is how many findings of a partition what is stored is asked about at a time.
const lookers = 4

// looking tells of l, with what is stored if there is a looker free: what comes in a
// flood is told of at once.
func (t *Triage) looking(ctx context.Context, p *processor, r *stream.Record, l *look) error {
	if t.history == nil {
		return t.settled(ctx, r, t.tellLook(ctx, l, nil))
	}
	ctx = context.WithoutCancel(ctx) // a partition that moves waits for it: see Checkpoint
	kept := stream.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Time, Key: slices.Clone(r.Key), Value: slices.Clone(r.Value)}
	for _, h := range r.Headers {
		kept.Headers = append(kept.Headers, stream.Header{Key: h.Key, Value: slices.Clone(h.Value)})
	}
	p.told.begin(r.Offset)
	if p.looks.TryGo(func() error {
		err := t.settled(ctx, &kept, t.tellLook(ctx, l, t.remember(ctx, l.finding)))
		p.told.end(kept.Offset, err)
		return err
	}) {
		return nil
	}
	p.told.end(r.Offset, nil) // it is told of before we return
	t.metrics.histories.WithLabelValues("skipped").Inc()
	return t.settled(ctx, r, t.tellLook(ctx, l, notAsked("many findings came at once")))
}

// tellLook tells of a finding that was handled, and marks it as seen.
func (t *Triage) tellLook(ctx context.Context, l *look, past *recalled) error {
	if err := t.tellFinding(ctx, l.b, l.incident, l.finding, &l.own, past); err != nil {
		return err
	}
	if err := t.at("seen"); err != nil {
		return err
	}
	return mark(ctx, l.b.incidents, "seen."+hash(l.finding.ID), l.incident.ID)
}

// untold are the offsets of the findings that are still to be told of.
type untold struct {
	mu      sync.Mutex
	offsets map[int64]bool
	err     error // of the first that was not
}

func (u *untold) begin(offset int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.offsets == nil {
		u.offsets = map[int64]bool{}
	}
	u.offsets[offset] = true
}

func (u *untold) end(offset int64, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.err = err
	}
	delete(u.offsets, offset)
}

// before is the offset before which all are told of, up to next.
func (u *untold) before(next int64) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for offset := range u.offsets {
		next = min(next, offset)
	}
	return next, u.err
}
