package event

import (
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// AppendIdentity appends an id for an event that its shipper gave none but a
// sequence number in a session: that number, and a hash of the line. So the same
// line shipped twice is the same event. Without both ok is false: two lines that
// look the same may well be two events.
func (ev *Event) AppendIdentity(dst, line []byte) (_ []byte, ok bool) {
	if !ev.Seq.OK || ev.Session == "" {
		return dst, false
	}
	dst = strconv.AppendInt(dst, ev.Seq.V, 10)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, xxhash.Sum64(line), 36), true
}
