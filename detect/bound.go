package detect

import (
	"cmp"
	"slices"
	"strings"
)

// SetLimit bounds how many profiles the engine holds, 0 meaning any number. A
// new agent beyond the limit takes the place of the one whose last event lies
// furthest back in the log, whatever its time: which one that is follows from
// the log alone, so a replay forgets the same agents. An agent that was
// forgotten and comes back learns anew.
func (e *Engine) SetLimit(agents int) { e.limit = agents }

// aged is an agent and its last event as they were when the agents were put in order.
type aged struct {
	*agent
	applied int64
}

// makeRoom forgets agents until there is room for one more.
func (e *Engine) makeRoom() {
	for e.agents.known >= e.limit {
		e.bury(e.oldest())
		e.stats.Forgotten++
	}
}

// bury forgets an agent, of whom [Engine.Changed] says so if it has told of him.
func (e *Engine) bury(a *agent) {
	if a.stored {
		e.gone = append(e.gone, e.agents.id(a))
	}
	e.forget(a)
}

// leave forgets the agent with an id, if there is one and all that it has taken in comes before the offset.
func (e *Engine) leave(id string, offset int64) {
	if a := e.agents.find(id); a != nil && offset > a.profile.seen.applied {
		e.bury(a)
	}
}

// oldest returns the agent whose last event lies furthest back. An agent that
// had an event since all were put in order is younger than the rest of that
// order; so known agents cost nothing, and each sorting is paid for by as many
// events as there are agents in it.
func (e *Engine) oldest() *agent {
	for {
		for len(e.order) > 0 {
			first := e.order[0]
			e.order = e.order[1:]
			if first.known && first.profile.seen.applied == first.applied {
				return first.agent
			}
		}
		for _, a := range e.agents.all() {
			e.order = append(e.order, aged{a, a.profile.seen.applied})
		}
		slices.SortFunc(e.order, func(a, b aged) int {
			if c := cmp.Compare(a.applied, b.applied); c != 0 {
				return c
			}
			return strings.Compare(e.agents.id(a.agent), e.agents.id(b.agent))
		})
	}
}
