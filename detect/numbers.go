package detect

import "math/bits"

// numbers follow the sequence numbers of a session: which of the sixteen below the
// highest have not come, and how many will not. It is the window by which IPsec
// knows a replay (RFC 4303, 3.4.3), put to the opposite use.
type numbers struct {
	top   uint16 // lowest bits of the highest number
	open  uint16 // bit i: top-1-i has not come and is not given up
	lost  uint8  // given up
	known bool   // one has come
}

const window = 16

// next returns the numbers once seq has come too. A number is given up when patience
// higher ones have come, or, if the events of this agent come in order, at the end of
// the session. Fresh says that seq is the highest so far, late that it was waited for.
func (n numbers) next(seq int64, patience int, end bool) (after numbers, fresh, late bool) {
	if !n.known {
		return numbers{top: uint16(seq), known: true}, true, false
	}
	step := int(int16(uint16(seq) - n.top)) // serial number arithmetic: RFC 1982
	switch {
	case step == 0:
		return n, false, false
	case step < 0:
		bit := uint16(1) << (-step - 1) // none for a number too old
		late = n.open&bit != 0
		n.open &^= bit
		return n, false, late
	}
	gone := bits.OnesCount16(n.open)
	if step > window {
		gone += step - 1 - window
		n.open = ^uint16(0)
	} else {
		gone -= bits.OnesCount16(n.open << step)
		n.open = n.open<<step | (1<<(step-1) - 1)
	}
	n.top = uint16(seq)
	given := n.open &^ (1<<patience - 1)
	if end {
		given = n.open
	}
	n.open &^= given
	n.lost = uint8(min(int(n.lost)+gone+bits.OnesCount16(given), 255))
	return n, true, false
}
