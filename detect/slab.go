package detect

import "strings"

// Slabs hold agents, many in one allocation and the names apart: so there are
// no pointers in what takes nearly all of the memory, and no room is lost to size
// classes. The place of an agent that was forgotten is the next one's.
type slabs struct {
	ids   []string // by slot
	fresh []agent  // of the slab made last, not used yet
	free  []*agent // forgotten
}

const firstSlab, largestSlab = 16, 512 // agents

// take returns an agent of which nothing is known.
func (s *slabs) take(id string) *agent {
	if n := len(s.free); n > 0 {
		a := s.free[n-1]
		s.free = s.free[:n-1]
		*a = agent{slot: a.slot}
		s.ids[a.slot] = id
		return a
	}
	if len(s.fresh) == 0 {
		s.fresh = make([]agent, max(firstSlab, min(len(s.ids), largestSlab)))
	}
	a := &s.fresh[0]
	s.fresh = s.fresh[1:]
	a.slot = uint32(len(s.ids))
	s.ids = append(s.ids, id)
	return a
}

func (s *slabs) put(a *agent) {
	s.ids[a.slot] = ""
	s.free = append(s.free, a)
}

func (s *slabs) id(a *agent) string { return s.ids[a.slot] }

// add begins to know an agent. The id is not kept.
func (e *Engine) add(id string) *agent {
	id = strings.Clone(id)
	a := e.slabs.take(id)
	e.agents[id] = a
	return a
}

// forget forgets an agent. What it has in changed or order no longer counts.
func (e *Engine) forget(a *agent) {
	delete(e.agents, e.slabs.id(a))
	if a.changed {
		e.changed[a.place-e.yielded] = nil
	}
	e.slabs.put(a)
}
