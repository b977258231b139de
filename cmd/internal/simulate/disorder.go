package simulate

import (
	"math"
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// late is the road from the agents to us when it is bad: some events take up to two minutes, and a few arrive twice.
type late struct {
	share   uint64 // of 2^32 events that are late
	waiting queue[*event.Event]
	seq     uint64
}

const (
	delay   = 2 * time.Minute
	repeats = 1 << 32 / 1000 // of 2^32 events that arrive twice
)

func (f *Fleet) disorder() *late {
	if f.cfg.Disorder == 0 {
		return nil
	}
	return &late{share: uint64(math.Round(f.cfg.Disorder * (1 << 32)))}
}

// drain emits the events of r in the order in which they arrive.
func (l *late) drain(r *run, yield func(*event.Event) bool) bool {
	now := int64(math.MinInt64)
	for {
		ev, more := r.step()
		if more {
			now = max(now, int64(ev.Time))
		} else {
			now = math.MaxInt64
		}
		for at, ok := l.waiting.peek(); ok && at <= now; at, ok = l.waiting.peek() {
			first, _ := l.waiting.pop()
			if !yield(first.val) {
				return false
			}
		}
		if !more {
			return true
		}
		key := mix(nameKey(ev.ID), r.fleet.cfg.Seed)
		s := streamOf(key, 17)
		delayed, twice := s.pcg.Uint64()>>32 < l.share, s.pcg.Uint64()>>32 < repeats
		if delayed {
			l.wait(ev, &s, now)
		}
		if twice {
			l.wait(ev, &s, now)
		}
		if !delayed && !yield(ev) {
			return false
		}
	}
}

// wait puts a copy of ev on the slow road: the event itself will be written over.
func (l *late) wait(ev *event.Event, s *stream, now int64) {
	l.seq++
	c := *ev
	c.ArgOrigins, c.ArgSources, c.ArgHashes = slices.Clone(ev.ArgOrigins), slices.Clone(ev.ArgSources), slices.Clone(ev.ArgHashes)
	for i := range c.ArgHashes {
		c.ArgHashes[i].Value = slices.Clone(c.ArgHashes[i].Value)
	}
	l.waiting.push(now+s.between(1, int64(delay)), l.seq, &c)
}
