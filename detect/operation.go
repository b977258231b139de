package detect

import (
	"fmt"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// An Operation is what a person decides about an agent's baseline. It takes its
// place in the log between the events, so that a replay decides the same.
type Operation string

// The operations.
const (
	Reset    Operation = "reset"    // forget what is normal; learn anew
	Reanchor Operation = "reanchor" // what the agent does now is normal; a drift that was reported is over
	Confirm  Operation = "confirm"  // the baseline is good, however short: judge by it from now on

	Forget Operation = "forget" // nothing more comes of the agent, which was there for one time: it takes no place any more
)

// Operations lists them, but for verdicts; see [Verdict].
func Operations() []Operation { return []Operation{Reset, Reanchor, Confirm} }

// Operate takes in the event, at an offset of the partition, that carries a
// person's decision about the baseline of its agent, and about what was told of it
// without trust. An operation that a profile has taken in already is left out.
func (e *Engine) Operate(op Operation, ev *event.Event, offset int64, src event.Source) error {
	e.facts = e.facts[:0]
	own := ownID(ev.Agent)
	if op == Forget {
		e.leave(ev.Agent+apart, offset)
		e.leave(own, offset)
		return nil
	}
	if id := ev.Agent + apart; id != own && e.agents.find(id) != nil {
		if err := e.operate(op, id, ev, offset, src); err != nil {
			return err
		}
	}
	return e.operate(op, own, ev, offset, src)
}

func (e *Engine) operate(op Operation, id string, ev *event.Event, offset int64, src event.Source) error {
	a := e.admit(id, ev, offset, src)
	if a == nil {
		return nil
	}
	p := &a.profile
	if v, ok := op.verdict(); ok {
		e.judged(p, v)
		if id == ownID(ev.Agent) {
			e.tellVerdict(a, ev, v)
		}
		return nil
	}
	switch op {
	case Reset:
		*p = Profile{seen: p.seen, role: p.role, tenant: p.tenant, issuer: p.issuer, subject: p.subject,
			budgeted: p.budgeted, wealth: p.wealth, again: true}
	case Reanchor:
		p.drifted = false
		p.privileges.reanchor()
		p.anchors.restart()
	case Confirm:
		p.vouched = p.events > 0
	default:
		return fmt.Errorf("operation %.20q: is unknown, want one of %v, or a verdict", op, Operations())
	}
	return nil
}

// reanchor makes the last hundred uses the baseline.
func (h *Histogram) reanchor() {
	h.uses, h.creep = min(h.uses, 2*shortRun), 0
	for i := range h.cell {
		h.cell[i].long = float32(h.cell[i].short.of())
	}
}
