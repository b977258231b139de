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

// again reports whether ev was taken in before.
func (s *Seen) again(ev *event.Event, src event.Source) bool {
	if m := s.mark(src); m != nil && (src.Offset < m.offset || src.Offset == m.offset && uint32(src.Line) <= m.line) {
		return true
	}
	if ev.ID == "" {
		return false
	}
	h := idHashOf(ev.ID)
	for _, r := range s.recent {
		if r == h {
			return true
		}
	}
	return false
}

// take remembers ev.
func (s *Seen) take(ev *event.Event, src event.Source) {
	if src.Topic != "" {
		m := s.mark(src)
		if m == nil {
			// The partition quiet for longest makes room: slots are in order of use.
			m = &s.sources[sourceSlots-1]
		}
		used := sourceMark{partition: sourcePartition(src), line: uint32(src.Line), offset: src.Offset}
		for i := range s.sources {
			s.sources[i], used = used, s.sources[i]
			if &s.sources[i] == m {
				break
			}
		}
	}
	if ev.ID != "" {
		copy(s.recent[1:], s.recent[:])
		s.recent[0] = idHashOf(ev.ID)
	}
}

func (s *Seen) mark(src event.Source) *sourceMark {
	if src.Topic == "" {
		return nil
	}
	id := sourcePartition(src)
	for i := range s.sources {
		if s.sources[i].partition == id {
			return &s.sources[i]
		}
	}
	return nil
}

func sourcePartition(src event.Source) uint32 {
	return fingerprint(hash(src.Topic) + uint64(src.Partition))
}
