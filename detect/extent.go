package detect

import "math/bits"

// Extents are how far an agent has gone by habit in things that have degrees, such
// as how late or how many: the highest degree of each, none for never.
type extents []uint16

// A degree is one thing and how far it went.
func degree(thing int, level int) uint64 { return uint64(thing)<<8 | uint64(min(level, 255)) }

// raise makes a degree, once gone to, one of habit.
func (e extents) raise(item uint64) {
	thing, level := item>>8, uint16(item&255)
	e[thing] = max(e[thing], level)
}

// beyond reports whether a level of a thing is beyond habit, by at least so many levels.
func (e extents) beyond(thing, level, by int) bool { return level >= int(e[thing])+by }

// doublings is the level of a count: how many times it doubles from one, and one
// more, so that nothing has level 0.
func doublings(n int64) int { return bits.Len64(uint64(max(n, 0))) }
