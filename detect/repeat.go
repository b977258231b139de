package detect

import "github.com/stakeout-project/stakeout/ingest/event"

const (
	sourceSlots = 8 // raw partitions that one agent's events may come from
	recentIDs   = 8 // events whose ids are remembered
)

// Seen is what a profile remembers of the events it took in, to know one that
// comes again: from the log after a crash, from an ingest that sent it twice, or
// from a shipper that did.
type Seen struct {
	applied int64 // offset of the last event taken in; -1 for none
	sources [sourceSlots]sourceMark
	recent  [recentIDs]idHash // newest first
}

// An idHash is 48 bits of an id's hash: one in 35,000,000,000,000 new events is taken
// for one of the eight before it. Zero stands for an empty slot.
type idHash [3]uint16

func idHashOf(id string) idHash {
	h := hash(id)
	return idHash{uint16(h) | 1, uint16(h >> 16), uint16(h >> 32)}
}

// A sourceMark is how far the events of one raw partition have come. They come
// in order, so what is not beyond the mark came before.
type sourceMark struct {
	partition uint32
	line      uint32
	offset    int64
}

// A sighting is what an event is known by when it comes again: where it is from, and its
// id. Each is zero where it is not told.
type sighting struct {
	from sourceMark
	id   idHash
}

func sightingOf(ev *event.Event, src event.Source) (s sighting) {
	if src.Topic != "" {
		s.from = sourceMark{partition: sourcePartition(src), line: uint32(src.Line), offset: src.Offset}
	}
	if ev.ID != "" {
		s.id = idHashOf(ev.ID)
	}
	return s
}

// again reports whether an event was taken in before.
func (s *Seen) again(e sighting) bool {
	if m := s.mark(e.from.partition); m != nil && (e.from.offset < m.offset || e.from.offset == m.offset && e.from.line <= m.line) {
		return true
	}
	if e.id == (idHash{}) {
		return false
	}
	for _, r := range s.recent {
		if r == e.id {
			return true
		}
	}
	return false
}

// take remembers an event.
func (s *Seen) take(e sighting) {
	if e.from.partition != 0 {
		m := s.mark(e.from.partition)
		if m == nil {
			// The partition quiet for longest makes room: slots are in order of use.
			m = &s.sources[sourceSlots-1]
		}
		used := e.from
		for i := range s.sources {
			s.sources[i], used = used, s.sources[i]
			if &s.sources[i] == m {
				break
			}
		}
	}
	if e.id != (idHash{}) {
		copy(s.recent[1:], s.recent[:])
		s.recent[0] = e.id
	}
}

func (s *Seen) mark(partition uint32) *sourceMark {
	if partition == 0 {
		return nil
	}
	for i := range s.sources {
		if s.sources[i].partition == partition {
			return &s.sources[i]
		}
	}
	return nil
}

func sourcePartition(src event.Source) uint32 {
	return fingerprint(hash(src.Topic) + uint64(src.Partition))
}
