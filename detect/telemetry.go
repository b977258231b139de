package detect

import (
	"fmt"
	"math"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Telemetry finds an agent whose log is no longer whole: events are missing, the
// results of calls or the origins of arguments no longer come while calls go on, or
// the clock goes backwards.
type Telemetry struct{ Prior Prior }

// About implements [Detector].
func (d Telemetry) About() About {
	return About{Slot: 11, Name: "telemetry", Threat: TelemetryTampering, Severity: Medium,
		ASI: []string{"ASI10"}}
}

func (d Telemetry) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every event of a session. Each fault is held
// against the worst that this agent's telemetry did by itself: a shipper that loses
// packets, never sends results or has a poor clock is known for it. Where events have
// no sequence number it asks about results and origins only.
func (d Telemetry) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.ask(signals, impair(v), d.Prior)
}

// What is remembered of an agent's telemetry: how far each fault went by habit, as
// doublings of what its comment says.
const (
	gaps       = iota // sequence numbers lost in a session
	silence           // calls in a row without a result in their session
	blindness         // calls in a row without origins, over all sessions; counted from 1
	backwards         // time by which the clock went back within a session, in five minutes
	disorder          // 1: events have come out of order
	blind             // no extent: calls in a row without origins just now
	allSignals        // how many there are
)

// runLeast is the length from which a run without results or origins may be one too many.
const runLeast = 4

// muchLonger is by how many doublings a run is longer than any by habit: four times as long.
const muchLonger = 2

// impair returns the first fault beyond habit that an event shows, or else what it teaches.
func impair(v View) occasion {
	ev, s := v.Event, v.Session
	if s.id == 0 {
		return occasion{}
	}
	o := occasion{trial: ev.Seq.OK || ev.Name == event.ToolCall}
	e := extents(v.Profile.habit(signals).items)
	if ev.Seq.OK {
		after, fresh, late := v.Profile.numbersAfter(ev, s)
		if after.lost > s.numbers.lost {
			level := doublings(int64(after.lost))
			o.shows(e, gaps, level, after.lost > 1 && e.beyond(gaps, level, 1))
		}
		if fresh {
			level := doublings(int64(s.last.Sub(ev.Time) / clockSlack))
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
		run := int(s.unanswered) + 1
		o.lacks(e, silence, run, doublings(int64(run)))
		switch blind := int(e[blind]); {
		case tells(ev):
			o.shows(e, blindness, 1+doublings(int64(blind)), false)
		case hides(ev):
			o.lacks(e, blindness, blind+1, 1+doublings(int64(blind)+1))
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

// lacks takes in a run of calls that goes on, of which only the end teaches: else a
// run that never ends would excuse itself. Where none has ever ended, what is missed
// was never there.
func (o *occasion) lacks(e extents, fault, run, level int) {
	if run >= runLeast && e[fault] > 0 && e.beyond(fault, level, muchLonger) {
		o.shows(e, fault, level, true)
	}
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
	return s.numbers.next(ev.Seq.V, false, ev.Time.Sub(s.last) >= clockSlack)
}

// count counts the calls that tell no origins, in whichever session.
func (p *Profile) count(ev *event.Event) {
	if ev.Name != event.ToolCall {
		return
	}
	switch n := &p.habit(signals).items[blind]; {
	case tells(ev):
		*n = 0
	case hides(ev) && *n < math.MaxUint16:
		*n++
	}
}

// trackSignals follows the sequence numbers and unanswered calls of a session.
func (p *Profile) trackSignals(ev *event.Event, s *Session) {
	if ev.Seq.OK {
		s.numbers, _, _ = p.numbersAfter(ev, s)
	}
	switch {
	case ev.Name == event.ToolResult:
		s.unanswered = 0
	case ev.Name == event.ToolCall && s.unanswered < math.MaxUint8:
		s.unanswered++
	}
}

// Explain implements [Detector].
func (d Telemetry) Explain(v View) Claim {
	ev, p, s, h := v.Event, v.Profile, v.Session, v.Profile.habit(signals)
	since := fmt.Sprintf("%d events since %s, %.1f faults beyond habit", h.trials, p.first.Time().Format("2006-01-02"), h.surprises)
	switch impair(v).item >> 8 {
	case gaps:
		after, _, _ := p.numbersAfter(ev, s)
		return Claim{
			Reason:   fmt.Sprintf("events of %s are missing", ev.Agent),
			Observed: fmt.Sprintf("%d sequence numbers of this session have not come, by number %d", after.lost, ev.Seq.V),
			Baseline: fmt.Sprintf("%s in a session; %s", fewer(h.items[gaps], "lost"), since),
		}
	case backwards:
		return Claim{
			Reason:   fmt.Sprintf("the clock of %s went back", ev.Agent),
			Observed: fmt.Sprintf("number %d of this session is %s older than one before it", ev.Seq.V, s.last.Sub(ev.Time).Round(time.Second)),
			Baseline: fmt.Sprintf("less than %s until now; %s", clockSlack<<h.items[backwards], since),
		}
	case silence:
		return Claim{
			Reason:   fmt.Sprintf("%s calls on, and no results come", ev.Agent),
			Observed: fmt.Sprintf("%d calls in a row without a result in this session", int(s.unanswered)+1),
			Baseline: fmt.Sprintf("%s in a row until now; %s", fewer(h.items[silence], "unanswered"), since),
		}
	}
	return Claim{
		Reason:   fmt.Sprintf("%s no longer tells where the arguments of its calls come from", ev.Agent),
		Observed: fmt.Sprintf("%d calls in a row without origins", int(h.items[blind])+1),
		Baseline: fmt.Sprintf("%s in a row until now; %s", fewer(h.items[blindness]-1, "without origins"), since),
	}
}

// fewer says an extent by its bound.
func fewer(level uint16, what string) string {
	if level == 0 {
		return "none " + what
	}
	return fmt.Sprintf("fewer than %d %s", 1<<level, what)
}
