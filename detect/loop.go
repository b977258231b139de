package detect

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A loop follows the session that may be going in circles: the same calls with
// the same arguments, one of them or up to four in turn.
type loop struct {
	session uint16
	ring    [4]uint8 // marks of its last calls, newest first
	runs    [4]uint8 // at q-1: how many calls in a row were as the q-th before them
	habit   uint8    // longest run that is the agent's way: how often it doubles from one, plus one
	bouts   bouts
}

const (
	loopLeast = 16 // repetitions that are first looked at, and then whenever they have doubled
	loopHeld  = 2  // from which on a session keeps its place
	loopPause = 2  // minutes without a call after which the next is no repetition: waiting is not looping
)

// callMark is what a call is compared by; 0 if it says neither a resource nor
// arguments, so that it cannot be told from another.
func callMark(ev *event.Event) uint8 {
	if len(ev.ArgHashes) == 0 && ev.Resource == "" {
		return 0
	}
	var d xxhash.Digest
	d.Reset()
	write := func(s string) {
		_, _ = d.WriteString(s) // a Digest's writes cannot fail
		_, _ = d.WriteString("\x00")
	}
	write(ev.Tool)
	write(ev.Resource)
	for i := range ev.ArgHashes {
		write(ev.ArgHashes[i].Key)
		for _, value := range ev.ArgHashes[i].Value {
			write(value)
		}
	}
	return uint8(d.Sum64()%255) + 1
}

// restart forgets what was followed, for another session or, in the one followed, for what
// comes after a call that cannot be told from others.
func (l *loop) restart(session uint16) {
	if l.session != 0 && session != l.session {
		l.bouts.end()
	}
	*l = loop{session: session, habit: l.habit, bouts: l.bouts}
}

// longest returns the longest run.
func (l *loop) longest() uint8 { return max(l.runs[0], l.runs[1], l.runs[2], l.runs[3]) }

// turns reports whether a call makes a run as long as is to be looked at, longer
// than the agent's habit; of which period and how long it is. What repeats after one call
// repeats after two as well: the shortest period counts.
func (l *loop) turns(ev *event.Event) (period, run int) {
	const due = loopLeast - 1 // and 31, 63, 127: powers of two less one
	for _, n := range l.runs {
		if n >= due && n&(n+1) == 0 && n < 255 {
			return l.closes(ev)
		}
	}
	return 0, 0
}

func (l *loop) closes(ev *event.Event) (period, run int) {
	if l.session != mark(hash(ev.Session)) {
		return 0, 0
	}
	m := callMark(ev)
	for q, n := range l.runs {
		if next := int(n) + 1; m != 0 && m == l.ring[q] && next >= loopLeast {
			if next&(next-1) == 0 && next < 256 && bits.Len(uint(next)) > int(l.habit) {
				return q + 1, next
			}
			break
		}
	}
	return 0, 0
}

// learn takes a call in. A long run that was not reported becomes the agent's habit.
func (l *loop) learn(ev *event.Event, reported bool) {
	if period, run := l.turns(ev); period > 0 && !reported {
		l.habit = uint8(bits.Len(uint(run)))
	}
	if begins, odd := l.repeats(ev); begins {
		l.bouts.repeat(odd, reported)
	}
	session := mark(hash(ev.Session))
	if session != l.session {
		if l.longest() >= loopHeld {
			// Whoever loops calls more often than others; who does not loses the place.
			for q := range l.runs {
				l.runs[q] = max(l.runs[q], 1) - 1
			}
			return
		}
		l.restart(session)
	}
	m := callMark(ev)
	if m == 0 {
		l.restart(session)
		return
	}
	for q := range l.runs {
		switch {
		case m != l.ring[q]:
			l.runs[q] = 0
		case l.runs[q] < 255:
			l.runs[q]++
		}
	}
	copy(l.ring[1:], l.ring[:])
	l.ring[0] = m
}

func (l *loop) code(c *coder) {
	c.u16(&l.session)
	for q := range l.ring {
		c.u8(&l.ring[q], 256)
		c.u8(&l.runs[q], 256)
	}
	c.u8(&l.habit, 9)
	l.bouts.code(c)
}
