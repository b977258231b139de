package detect

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"strings"
)

// Slabs hold agents by their names, many in one allocation. Nothing that there is one
// of for each agent has pointers, so the garbage collector need not look at a
// million of them, and no room is lost to size classes. The place of an agent that was
// forgotten is the next one's.
type slabs struct {
	seed  maphash.Seed // of this process: where an agent stands in the table changes nothing
	table []entry      // a power of two, at most three quarters of them in use
	known int          // agents
	of    [][]agent
	used  uint32            // slots, by agents and by the forgotten
	free  []uint32          // slots of the forgotten
	long  map[uint32]string // names that an agent has no room for, by slot
}

// An entry is where an agent is: at the first free place from its hash on.
type entry struct {
	hash uint32
	slot uint32 // and one more; 0: the place is free
}

const (
	firstSlab, largestSlab = 16, 512 // agents; as large as all before it together between these
	firstTable             = 32
)

// named is the name of an agent, if it has room for it.
type named struct {
	size uint8 // longName: it has not
	text [40]byte
}

const longName = 255

func newSlabs() slabs {
	return slabs{seed: maphash.MakeSeed(), table: make([]entry, firstTable), long: map[uint32]string{}}
}

// at returns the agent of a slot.
func (s *slabs) at(slot uint32) *agent {
	switch {
	case slot >= largestSlab:
		return &s.of[bits.Len32(largestSlab/firstSlab)-1+int(slot/largestSlab)][slot%largestSlab]
	case slot < firstSlab:
		return &s.of[0][slot]
	}
	n := bits.Len32(slot / firstSlab)
	return &s.of[n][slot-firstSlab<<(n-1)]
}

func (s *slabs) hash(id string) uint32 { return uint32(maphash.String(s.seed, id)) }
func (s *slabs) mask() uint32          { return uint32(len(s.table) - 1) }
func (s *slabs) id(a *agent) string {
	if a.name.size == longName {
		return s.long[a.slot]
	}
	return string(a.name.text[:a.name.size])
}

// is reports whether an agent has a name.
func (s *slabs) is(a *agent, id string) bool {
	if a.name.size == longName {
		return s.long[a.slot] == id
	}
	return string(a.name.text[:a.name.size]) == id
}

// find returns the agent of a name; nil where it is not known.
func (s *slabs) find(id string) *agent {
	for h, i := s.hash(id), s.hash(id); ; i++ {
		e := s.table[i&s.mask()]
		if e.slot == 0 {
			return nil
		}
		if e.hash == h {
			if a := s.at(e.slot - 1); s.is(a, id) {
				return a
			}
		}
	}
}

// likely returns the agent of a name, or now and then another, without a look at it.
func (s *slabs) likely(id []byte) *agent {
	h := uint32(maphash.Bytes(s.seed, id))
	for i := h; ; i++ {
		switch e := s.table[i&s.mask()]; {
		case e.slot == 0:
			return nil
		case e.hash == h:
			return s.at(e.slot - 1)
		}
	}
}

// all are the agents and their names, in the order of their slots.
func (s *slabs) all() iter.Seq2[string, *agent] {
	return func(yield func(string, *agent) bool) {
		for slot := range s.used {
			if a := s.at(slot); a.known && !yield(s.id(a), a) {
				return
			}
		}
	}
}

// add begins to know an agent. The id is not kept.
func (s *slabs) add(id string) *agent {
	a := s.take()
	*a = agent{slot: a.slot, known: true}
	if len(id) <= len(a.name.text) {
		a.name.size = uint8(copy(a.name.text[:], id))
	} else {
		a.name.size, s.long[a.slot] = longName, strings.Clone(id)
	}
	if s.known++; s.known > len(s.table)*3/4 {
		old := s.table
		s.table = make([]entry, 2*len(old))
		for _, e := range old {
			if e.slot != 0 {
				s.put(e)
			}
		}
	}
	s.put(entry{s.hash(id), a.slot + 1})
	return a
}

// take returns a place for one more agent, that of one who was forgotten first.
func (s *slabs) take() *agent {
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		return s.at(slot)
	}
	if held := s.used; held == 0 || held >= firstSlab && held <= largestSlab && held&(held-1) == 0 || held%largestSlab == 0 {
		s.of = append(s.of, make([]agent, max(firstSlab, min(held, largestSlab))))
	}
	a := s.at(s.used)
	a.slot = s.used
	s.used++
	return a
}

// put enters an entry.
func (s *slabs) put(e entry) {
	i := e.hash
	for s.table[i&s.mask()].slot != 0 {
		i++
	}
	s.table[i&s.mask()] = e
}

// remove forgets an agent, and closes the gap in the table that it leaves.
func (s *slabs) remove(a *agent) {
	id := s.id(a)
	gap := s.hash(id) & s.mask()
	for s.table[gap].slot != a.slot+1 {
		gap = (gap + 1) & s.mask()
	}
	for i := (gap + 1) & s.mask(); s.table[i].slot != 0; i = (i + 1) & s.mask() {
		// What stands at i may move to the gap unless it belongs behind it.
		if belongs := s.table[i].hash & s.mask(); (i-belongs)&s.mask() >= (i-gap)&s.mask() {
			s.table[gap], gap = s.table[i], i
		}
	}
	s.table[gap] = entry{}
	delete(s.long, a.slot)
	a.known = false
	s.known--
	s.free = append(s.free, a.slot)
}

// forget forgets an agent. What it has in changed or order no longer counts.
func (e *Engine) forget(a *agent) {
	if a.changed {
		e.changed[a.place-e.yielded] = nil
	}
	e.agents.remove(a)
}
