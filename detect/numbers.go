package detect

import "math/bits"

// numbers follow the sequence numbers of a session: which of the sixteen below the
// highest have not come, and how many will not. It is the window by which IPsec
// knows a replay (RFC 4303, 3.4.3), put to the opposite use.
type numbers struct {
	top  uint16 // lowest bits of one more than the highest number; 0: none has come
	open uint16 // bit i: the number i+1 below the highest has not come and is not given up
	lost uint8  // given up
}

const window = 16

// next returns the numbers once seq has come too.
//
// Where the events of an agent come in order, a number is given up when four higher
// ones have come, and when the session is over. Where they do not, it is given up
// after a pause in which everything late would have come; what leaves the window
// before is let go. Fresh says that seq is the highest so far, late that it came after
// a higher one.
func (n numbers) next(seq int64, inOrder, over bool) (after numbers, fresh, late bool) {
	const patience = 4
	top := uint16(seq) + 1
	if n.top == 0 {
		return numbers{top: top}, true, false
	}
	step := int(int16(top - n.top)) // serial number arithmetic: RFC 1982
	switch {
	case step == 0:
		return n, false, false
	case step < 0:
		bit := uint16(1) << (-step - 1) // none for a number too old
		if n.open&bit == 0 && n.lost > 0 {
			n.lost--
		}
		n.open &^= bit
		return n, false, true
	}
	older, missing := n.open<<step, ^uint16(0)
	if step <= window {
		missing = 1<<(step-1) - 1
	}
	lost := 0
	switch {
	case inOrder:
		lost = bits.OnesCount16(n.open) - bits.OnesCount16(older) + max(step-1-window, 0)
		given := older | missing
		if !over {
			given &^= 1<<patience - 1
		}
		lost += bits.OnesCount16(given)
		older, missing = older&^given, missing&^given
	case over:
		lost, older = bits.OnesCount16(n.open), 0
	}
	return numbers{top: top, open: older | missing, lost: uint8(min(int(n.lost)+lost, 255))}, true, false
}
