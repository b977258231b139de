package triage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// HistoryConfig says whether and how what is stored is asked for the first look at a
// finding.
type HistoryConfig struct {
	Enabled bool          `koanf:"enabled"`
	Timeout time.Duration `koanf:"timeout"` // of all that is asked about one finding
	Window  time.Duration `koanf:"window"`  // how far back peers and destinations are looked at
}

// DefaultHistoryConfig asks nothing: a triage process by itself knows of no store.
func DefaultHistoryConfig() HistoryConfig {
	return HistoryConfig{Timeout: 2 * time.Second, Window: 7 * 24 * time.Hour}
}

// Validate lists everything wrong with c.
func (c HistoryConfig) Validate() error {
	var errs []error
	if c.Timeout < 10*time.Millisecond || c.Timeout > 30*time.Second {
		errs = append(errs, fmt.Errorf("timeout: is %s, want 10ms to 30s", c.Timeout))
	}
	if c.Window < time.Hour || c.Window > 90*24*time.Hour {
		errs = append(errs, fmt.Errorf("window: is %s, want 1h to 2160h", c.Window))
	}
	return errors.Join(errs...)
}

// A History answers what is stored about the past of a finding.
type History func(context.Context, command.Question) (command.Past, error)

// UseHistory says who answers. It is to be called before Run; without it the first look
// rests on the finding, its incident and the policy alone.
func (t *Triage) UseHistory(h History) { t.history = h }

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

// recalled is what was stored about the past of a finding, or why that is not known.
type recalled struct {
	past command.Past
	why  string
}

func notAsked(why string) *recalled { return &recalled{why: why} }

// remember asks what is stored, within bounds. That it is not known is no error.
func (t *Triage) remember(ctx context.Context, f *detect.Finding) *recalled {
	if !t.breaker.allows(t.now()) {
		t.metrics.histories.WithLabelValues("broken").Inc()
		return notAsked("the store has not answered lately")
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.History.Timeout)
	defer cancel()
	if !t.mayAsk(ctx) {
		t.metrics.histories.WithLabelValues("skipped").Inc()
		return notAsked("many findings came at once")
	}
	defer func() { <-t.asking }()
	past, err := t.history(ctx, command.Question{
		Finding: f.ID, Agent: f.Agent, Role: f.Role, Tenant: f.Tenant, Tool: f.Did.Tool, Privilege: f.Did.Privilege, Destination: f.Did.Destination,
		Evidence: f.Evidence[:min(len(f.Evidence), maxFindings)], Time: f.Time, Window: t.cfg.History.Window,
	})
	t.breaker.note(t.now(), err == nil)
	if err != nil {
		t.metrics.histories.WithLabelValues("failed").Inc()
		t.log.Warn("the store does not tell of the past of a finding", "finding", f.ID, "err", err)
		return notAsked(fmt.Sprintf("the store did not answer within %s", t.cfg.History.Timeout))
	}
	t.metrics.histories.WithLabelValues("answered").Inc()
	return &recalled{past: past}
}

// rest is for how long no finding must have come before anything is asked, so that no
// question takes the processor from whoever commands.
const rest = 500 * time.Millisecond

// mayAsk waits for the turn to ask, and for a time of rest; it reports false when ctx
// ends before. Who was given the turn hands it on.
func (t *Triage) mayAsk(ctx context.Context) bool {
	select {
	case t.asking <- true:
	case <-ctx.Done():
		return false
	}
	for {
		left := rest - time.Since(time.Unix(0, t.busy.Load()))
		if left <= 0 {
			return true
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			<-t.asking
			return false
		}
	}
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

// A breaker keeps from asking whoever has not answered: after three failures in a row
// nobody asks for half a minute, and then one does.
type breaker struct {
	mu     sync.Mutex
	failed int
	until  time.Time
}

const (
	breakAfter = 3
	breakFor   = 30 * time.Second
)

func (b *breaker) allows(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed < breakAfter {
		return true
	}
	if now.Before(b.until) {
		return false
	}
	b.until = now.Add(breakFor) // for all but the one that tries
	return true
}

func (b *breaker) note(now time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ok {
		b.failed = 0
		return
	}
	if b.failed++; b.failed >= breakAfter {
		b.until = now.Add(breakFor)
	}
}

// queried is what was asked of what is stored, and what it said.
func (r *recalled) queried(f *detect.Finding, window time.Duration) []string {
	if r == nil {
		return nil
	}
	if r.why != "" {
		return []string{"What is stored is not known: " + r.why + "."}
	}
	p, days := r.past, fmt.Sprintf("%.0f days", window.Hours()/24)
	q := []string{
		fmt.Sprintf("What was found of %s before? %s; verdicts: %s.", f.Agent, tallies(p.Findings, "nothing"), tallies(p.Verdicts, "none")),
		"What are the events it rests on? " + rests(p.Rests, len(f.Evidence)) + ".",
		fmt.Sprintf("What did it do in the ten minutes before? %s, %d failed; tools: %s.", count(int(p.Around.Events), "event"), p.Around.Failed, cmp.Or(strings.Join(p.Around.Tools, ", "), "none")),
	}
	if f.Role != "" && (f.Did.Tool != "" || f.Did.Privilege != "") {
		q = append(q, fmt.Sprintf("Do its peers do it? %s: %d of %s of role %s in the %s before, %s.", did(f), p.Alike, count(int(p.Peers), "other agent"), f.Role, days, count(int(p.Likened), "time")))
	}
	if f.Did.Destination != "" {
		met := "nobody contacted it"
		if p.Met != 0 {
			met = fmt.Sprintf("first contact %s, %s by %s", p.Met.Time().Format(time.RFC3339), count(int(p.MetContact), "contact"), count(int(p.MetAgents), "agent"))
		}
		q = append(q, fmt.Sprintf("Is destination %s known? In the %s before: %s.", f.Did.Destination, days, met))
	}
	return q
}

// fewPeers is how many agents of a role say little about what is usual in it.
const fewPeers = 4

// weighed is what the past says for and against a harmless explanation.
func (r *recalled) weighed(f *detect.Finding) (lines []string) {
	if r == nil || r.why != "" {
		return nil
	}
	p := r.past
	acted := f.Role != "" && (f.Did.Tool != "" || f.Did.Privilege != "")
	switch {
	case acted && p.Alike > 0 && p.Alike >= p.Peers/2:
		lines = append(lines, "For a harmless explanation: it is usual among its peers.")
	case acted && p.Alike == 0 && p.Peers >= fewPeers:
		lines = append(lines, fmt.Sprintf("Against a harmless explanation: none of %d peers does it.", p.Peers))
	}
	if f.Did.Destination != "" && p.Met == 0 {
		lines = append(lines, "Against a harmless explanation: nobody was in contact with the destination before.")
	}
	for _, v := range p.Verdicts {
		switch command.Verdict(v.Name) {
		case truePositive:
			lines = append(lines, "Against a harmless explanation: an attack on this agent was confirmed before.")
		case falsePositive:
			lines = append(lines, "For a harmless explanation: a person has called findings about this agent false before.")
		}
	}
	return lines
}

// did names what the event judged did.
func did(f *detect.Finding) string {
	var parts []string
	if f.Did.Tool != "" {
		parts = append(parts, "to call "+f.Did.Tool)
	}
	if f.Did.Privilege != "" {
		parts = append(parts, "to exercise "+f.Did.Privilege)
	}
	return strings.Join(parts, " and ")
}

func tallies(all []command.Tally, none string) string {
	if len(all) == 0 {
		return none
	}
	var parts []string
	for _, t := range all {
		parts = append(parts, fmt.Sprintf("%d by %s", t.Count, cut(t.Name, 64)))
	}
	return strings.Join(parts, ", ")
}

func rests(all []command.Stored, of int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d stored so far", len(all), of)
	for _, e := range slices.Backward(all) { // oldest first
		fmt.Fprintf(&b, "; %s %s", event.Timestamp(e.Time).Time().Format(time.RFC3339), e.Name)
		for _, part := range []string{e.Tool, e.Effect, e.Destination} {
			if part != "" {
				b.WriteString(" " + cut(part, 64))
			}
		}
	}
	return b.String()
}
