package detect

import (
	"fmt"
	"math"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Telemetry finds an agent whose log is no longer whole: events are missing, the
// results of calls, the origins of arguments, heartbeats or calls of the model no longer
// come while calls go on, or the clock is wrong.
type Telemetry struct{ Prior Prior }

// About implements [Detector].
func (d Telemetry) About() About {
	return About{Slot: 11, Name: "telemetry", Threat: TelemetryTampering, Severity: Medium,
		Normal: "whole telemetry: every sequence number, a result for each call, one clock",
		ASI:    []string{"ASI10"}, ATLAS: []string{}}
}

func (d Telemetry) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every event of a session. Each fault is held
// against the worst that this agent's telemetry did by itself: a shipper that loses
// packets, never sends results or has a poor clock is known for it. Where events have
// no sequence number it asks about results and origins only, and about results only
// where the log has model.call.
func (d Telemetry) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.ask(signals, d.Prior)
}

// What is remembered of an agent's telemetry: how far each fault went by habit, as
// doublings of what its comment says.
const (
	gaps       = iota // sequence numbers lost in a session
	silence           // turns in a row whose calls got no result in their session
	blindness         // calls in a row without origins, over all sessions; counted from 1
	backwards         // time by which the clock went back within a session, in five minutes
	disorder          // 1: events have come out of order
	blind             // no extent: calls in a row without origins just now
	thinning          // no extent: evidence of losses in many sessions; see thin
	forward           // time by which the clock was ahead, in five minutes
	stillness         // minutes with calls in a row without a heartbeat, over all sessions; counted from 1
	still             // no extent: minutes in a row without one just now
	muteness          // calls in a row without a call of the model, over all sessions; counted from 1
	mute              // no extent: calls in a row without one just now
	allSignals        // how many there are
)

// The length from which a run may be one too many: of turns without results, which
// come at once or not at all, and of calls without origins, where the shipper finds none
// for what the model made up.
const (
	turnsLeast = 4
	callsLeast = 8
	stillLeast = 16 // minutes with calls and without a heartbeat
	muteLeast  = 64 // calls without a call of the model, which may make many at once
)

// muchLonger is by how many doublings a run is longer than any by habit: four times as long.
const muchLonger = 2

// farLonger is the same of what comes beside the calls and by no rule: between
// heartbeats that come by chance lie runs that are geometric, of which the longest of a
// hundred is five times the mean, and one four times as long has a chance of 1e-8.
const farLonger = 3

// impair returns the first fault beyond habit that an event shows, or else what it teaches.
func impair(v View) occasion {
	ev, s := v.Event, v.Session
	e := extents(v.Profile.habit(signals).items)
	o := pulse(ev, e)
	if v.ahead > 0 {
		level := doublings(int64(v.ahead / clockSlack))
		o.shows(e, forward, level, e.beyond(forward, level, 1))
	}
	o.trial = o.item != 0
	if s.id == 0 {
		return o
	}
	o.trial = o.trial || ev.Seq.OK || ev.Name == event.ToolCall
	if ev.Seq.OK {
		after, fresh, late := v.Profile.numbersAfter(ev, s)
		if after.lost > s.numbers.lost {
			level := doublings(int64(after.lost))
			o.shows(e, gaps, level, e.beyond(gaps, level, 1) && v.Profile.lossTail(int(after.lost), ev.Seq.V) < unusualLoss)
			if t, _ := v.Profile.thin(int(after.lost) - int(s.numbers.lost)); t.nats() >= toldThinned {
				o.shows(e, thinning, 1, true)
			}
		}
		if fresh {
			level := doublings(int64(s.last.Sub(instantOf(ev.Time)) / clockSlack))
			o.shows(e, backwards, level, e.beyond(backwards, level, 1))
		}
		if late {
			o.shows(e, disorder, 1, false)
		}
	}
	switch ev.Name {
	case event.ToolResult:
		o.shows(e, silence, doublings(int64(s.unanswered)), false)
	case event.ToolCall:
		if turns := s.turnsUnanswered(); turns >= turnsLeast {
			o.lacks(e, silence, doublings(int64(turns)), muchLonger)
		}
		switch calls := int64(e[blind]); {
		case tells(ev):
			o.shows(e, blindness, 1+doublings(calls), false)
		case hides(ev) && calls+1 >= callsLeast:
			o.lacks(e, blindness, 1+doublings(calls+1), muchLonger)
		}
	}
	return o
}

// pulse looks at the signals that come beside an agent's calls, over all its sessions:
// its heartbeats and the calls of its model. Where one stops and calls go on, somebody
// has silenced it.
func pulse(ev *event.Event, e extents) (o occasion) {
	signals := [...]struct {
		name               event.Name
		extent, now, least int
	}{{event.Heartbeat, stillness, still, stillLeast}, {event.ModelCall, muteness, mute, muteLeast}}
	for _, s := range signals {
		switch run := int64(e[s.now]); {
		case ev.Name == s.name:
			o.shows(e, s.extent, 1+doublings(run), false)
		case ev.Name == event.ToolCall && run+1 >= int64(s.least):
			o.lacks(e, s.extent, 1+doublings(run+1), farLonger)
		}
	}
	return o
}

// shows takes in that a fault went to a level, unless another is beyond habit.
func (o *occasion) shows(e extents, fault, level int, odd bool) {
	if !o.odd && (odd || level > int(e[fault])) {
		o.item, o.odd = degree(fault, level), odd
	}
}

// lacks takes in a run that goes on, longer than any by so many doublings, of which only the end teaches: else a
// run that never ends would excuse itself. Where none has ever ended, what is missed
// was never there.
func (o *occasion) lacks(e extents, fault, level, by int) {
	if e[fault] > 0 && e.beyond(fault, level, by) {
		o.shows(e, fault, level, true)
	}
}

// unusualLoss is the chance below which a session's losses are not the agent's own rate.
const unusualLoss = 1e-5

// lossTail is the chance that so many numbers are lost, or more, of a session that has
// come to a number, counted from its beginning. Numbers are lost at a rate of which
// one in four hundred is thought before any is known, so losses are negative
// binomial. Losses that come in bursts, a batch at a time, are held against the
// largest before besides.
func (p *Profile) lossTail(lost int, number int64) float64 {
	known := float64(p.losses) + 0.5
	rate := known / (float64(p.novelties[signals].trials) + 200)
	return binomialTail(lost, float64(rate*float64(max(number, int64(lost)))), known)
}

// A thinned is the evidence that events are taken out of the agent's sessions here and
// there, in units of 1/128 nat, and in its lowest four bits the losses that it was
// gathered from.
type thinned uint16

// toldThinned is the evidence from which losses are reported: passed by chance less than once
// in a million numbers.
const toldThinned = 14.0

func (t thinned) nats() float64 { return float64(t>>4) / 128 }
func (t thinned) losses() int   { return int(t & 15) }

// thin returns the evidence once one more number has come and some are lost, and how
// many losses are part of the usual rate from now on. The evidence is the logarithm of
// an e-detector (Shin, Ramdas & Rinaldo 2022): of the likelihood that one number in
// fifty is lost now, or twenty times as many as are usual, against that of the usual
// rate p,
//
//	S = max(0, S - (q - p) + lost ln(q/p))
//
// While the rate stays what it was it passes s less than once in exp(s) numbers. What
// is lost raises the usual rate only when its evidence is gone, or told: else it would
// excuse itself.
func (p *Profile) thin(lost int) (after thinned, usual int) {
	t := thinned(p.habit(signals).items[thinning])
	if !p.mature() {
		return 0, lost + t.losses()
	}
	rate := (float64(p.losses) + 0.5) / (float64(p.novelties[signals].trials) + 200)
	now := math.Min(math.Max(20*rate, 1.0/50), 1)
	nats := t.nats() - (now - rate)
	if lost != 0 {
		nats += float64(float64(lost) * math.Log(now/rate))
	}
	if nats <= 0 {
		return 0, lost + t.losses()
	}
	of := t.losses() + lost
	held := max(0, min(of, 15))
	return thinned(math.Min(float64(nats*128), 1<<12-1))<<4 | thinned(held), of - held
}

// tells reports whether a call says where its arguments came from.
func tells(ev *event.Event) bool { return len(ev.ArgOrigins) > 0 }

// hides reports whether a call has arguments, as it must to change anything, and
// does not say where they came from.
func hides(ev *event.Event) bool {
	return !tells(ev) && (len(ev.ArgKeys) > 0 || ev.Effect.Changes())
}

// inOrder reports whether the agent's events have always come in order.
func (p *Profile) inOrder() bool { return p.habit(signals).items[disorder] == 0 }

// numbersAfter is what the sequence numbers of a session are after an event of it.
func (p *Profile) numbersAfter(ev *event.Event, s *Session) (after numbers, fresh, late bool) {
	if p.inOrder() {
		return s.numbers.next(ev.Seq.V, true, ev.Name == event.SessionEnd)
	}
	return s.numbers.next(ev.Seq.V, false, instantOf(ev.Time).Sub(s.last) >= clockSlack)
}

// count counts the calls that tell no origins, those since a call of the model, and
// the minutes with any since a heartbeat, in whichever session.
func (p *Profile) count(ev *event.Event) {
	items := p.habit(signals).items
	switch ev.Name {
	case event.Heartbeat:
		items[still] = 0
	case event.ModelCall:
		items[mute] = 0
	}
	if ev.Name != event.ToolCall {
		return
	}
	items[mute] = min(items[mute], math.MaxUint16-1) + 1
	if p.volumes.calls.now == 1 {
		items[still] = min(items[still], math.MaxUint16-1) + 1
	}
	switch n := &items[blind]; {
	case tells(ev):
		*n = 0
	case hides(ev) && *n < math.MaxUint16:
		*n++
	}
}

// trackSignals follows the sequence numbers and unanswered calls of a session.
func (p *Profile) trackSignals(ev *event.Event, s *Session) {
	if ev.Seq.OK {
		after, _, _ := p.numbersAfter(ev, s)
		t, usual := p.thin(int(after.lost) - int(s.numbers.lost))
		p.habit(signals).items[thinning] = uint16(t)
		p.lose(usual)
		s.numbers = after
	}
	switch ev.Name {
	case event.ModelCall:
		s.intents |= thought
	case event.ToolCall:
		s.unanswered = uint8(min(s.turnsUnanswered(), math.MaxUint8))
		s.intents &^= thought
	case event.ToolResult:
		s.unanswered = 0
	}
}

// turnsUnanswered is how many turns will be without a result once a tool is called.
// Calls that the model made at once are one turn: their results are still to come.
func (s *Session) turnsUnanswered() int {
	if s.unanswered == 0 || s.intents&thought != 0 {
		return int(s.unanswered) + 1
	}
	return int(s.unanswered)
}

// Explain implements [Detector].
func (d Telemetry) Explain(v View) Claim {
	ev, p, s, h := v.Event, v.Profile, v.Session, v.Profile.habit(signals)
	since := fmt.Sprintf("%d events since %s, %.1f faults beyond habit", h.trials, p.first.Time().Format("2006-01-02"), h.surprises)
	switch impair(v).item >> 8 {
	case gaps:
		lost := p.missing(ev, s)
		return Claim{
			Reason:   fmt.Sprintf("events of %s are missing", ev.Agent),
			Observed: fmt.Sprintf("%d sequence numbers of this session have not come, by number %d", lost, ev.Seq.V),
			Baseline: fmt.Sprintf("%s in a session, %d in all: the chance of as many is %.2g; %s", fewer(h.items[gaps], "numbers lost"), p.losses, p.lossTail(lost, ev.Seq.V), since),
		}
	case thinning:
		t, _ := p.thin(p.missing(ev, s) - int(s.numbers.lost))
		return Claim{
			Reason:   fmt.Sprintf("events of %s are missing here and there", ev.Agent),
			Observed: fmt.Sprintf("%d sequence numbers of this and the last sessions have not come: %.1f nats of evidence", t.losses(), t.nats()),
			Baseline: fmt.Sprintf("%d lost in all before; %s", p.losses, since),
		}
	case backwards:
		return Claim{
			Reason:   fmt.Sprintf("the clock of %s went back", ev.Agent),
			Observed: fmt.Sprintf("number %d of this session is %s older than one before it", ev.Seq.V, s.last.Sub(instantOf(ev.Time))),
			Baseline: fmt.Sprintf("less than %s until now; %s", clockSlack<<h.items[backwards], since),
		}
	case forward:
		return Claim{
			Reason:   fmt.Sprintf("the clock of %s is ahead", ev.Agent),
			Observed: fmt.Sprintf("%s ahead of the broker that took the event in, whose time it was given", v.ahead.Round(time.Second)),
			Baseline: fmt.Sprintf("less than %s until now; %s", clockSlack<<h.items[forward], since),
		}
	case stillness, muteness:
		fault, what, of, now := stillness, "heartbeat", "minutes with calls", still
		if impair(v).item>>8 == muteness {
			fault, what, of, now = muteness, "call of the model", "calls", mute
		}
		return Claim{
			Reason:   fmt.Sprintf("%s calls tools on, and no %s comes", ev.Agent, what),
			Observed: fmt.Sprintf("%d %s in a row without a %s", int(h.items[now])+1, of, what),
			Baseline: fmt.Sprintf("%s in a row until now; %s", fewer(h.items[fault]-1, of+" without one"), since),
		}
	case silence:
		return Claim{
			Reason:   fmt.Sprintf("%s calls on, and no results come", ev.Agent),
			Observed: fmt.Sprintf("%d turns in a row without the result of a call in this session", s.turnsUnanswered()),
			Baseline: fmt.Sprintf("%s in a row until now; %s", fewer(h.items[silence], "turns without one"), since),
		}
	}
	return Claim{
		Reason:   fmt.Sprintf("%s no longer tells where the arguments of its calls come from", ev.Agent),
		Observed: fmt.Sprintf("%d calls in a row without origins", int(h.items[blind])+1),
		Baseline: fmt.Sprintf("%s in a row until now; %s", fewer(h.items[blindness]-1, "calls without origins"), since),
	}
}

// lose makes losses part of the usual rate.
func (p *Profile) lose(n int) { p.losses = uint16(max(0, min(int(p.losses)+n, math.MaxUint16))) }

// settle makes the losses that were told part of the usual rate: they are told again
// where they go on.
func (p *Profile) settle() {
	t := &p.habit(signals).items[thinning]
	p.lose(thinned(*t).losses())
	*t = 0
}

// missing is how many numbers of a session are lost after an event of it.
func (p *Profile) missing(ev *event.Event, s *Session) int {
	after, _, _ := p.numbersAfter(ev, s)
	return int(after.lost)
}

// fewer says an extent by its bound.
func fewer(level uint16, what string) string {
	if level == 0 {
		return "no " + what
	}
	return fmt.Sprintf("fewer than %d %s", 1<<level, what)
}
