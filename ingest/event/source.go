package event

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"
)

// SourceHeader is the key of the Kafka header that carries an event's [Source].
const SourceHeader = "src"

// A Source is where an event comes from: a line of a record of a raw partition.
//
// Events of one raw partition go out in raw order, so whoever remembers the
// last source of each (topic, partition) recognises by [Source.Compare] what
// was sent again after a crash.
type Source struct {
	Topic     string
	Partition int
	Offset    int64
	Line      int // of the record, from 1; 0 where the record is one line

	Ahead   time.Duration // by which the event's clock was ahead of the broker's, as [Event.Admit] says; 0 where it was believed
	Rounded bool          // Ahead is in whole seconds: an earlier build noted no more
}

// Claimed returns the time that the event's own clock told, where t is the one that
// [Event.Admit] gave it: t itself where the clock was believed, or where it is not
// known to the nanosecond by how much it was ahead.
//
// It does not depend on when the event came, as t does: an event that comes twice
// claims the same time.
func (s Source) Claimed(t Timestamp) Timestamp {
	claimed := t + Timestamp(s.Ahead)
	if s.Rounded || claimed < t { // beyond what a timestamp can tell
		return t
	}
	return claimed
}

var errSource = errors.New("event: source: is cut off or out of range, want partition, offset, line and topic")

// The bytes, which no name of a topic has, before by how much a clock was ahead.
const (
	aheadSeconds     = 0
	aheadNanoseconds = 1
)

// AppendBinary appends s to dst: partition, offset and line as uvarints, then the
// topic, and, where a clock was ahead, a byte that says in what, and by how much.
func (s Source) AppendBinary(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(s.Partition))
	dst = binary.AppendUvarint(dst, uint64(s.Offset))
	dst = binary.AppendUvarint(dst, uint64(s.Line))
	dst = append(dst, s.Topic...)
	switch {
	case s.Ahead <= 0:
		return dst
	case s.Rounded:
		return binary.AppendUvarint(append(dst, aheadSeconds), uint64(s.Ahead/time.Second))
	}
	return binary.AppendUvarint(append(dst, aheadNanoseconds), uint64(s.Ahead))
}

// Parse reads what [Source.AppendBinary] wrote. It allocates only where the
// topic is another than s had before.
func (s *Source) Parse(b []byte) error {
	var v [3]uint64
	for i, limit := range [3]uint64{math.MaxInt32, math.MaxInt64, math.MaxInt32} {
		x, n := binary.Uvarint(b)
		if n <= 0 || x > limit {
			return errSource
		}
		v[i], b = x, b[n:]
	}
	s.Ahead, s.Rounded = 0, false
	if i := slices.IndexFunc(b, func(c byte) bool { return c <= aheadNanoseconds }); i >= 0 {
		unit, limit := time.Nanosecond, uint64(math.MaxInt64)
		if s.Rounded = b[i] == aheadSeconds; s.Rounded {
			unit, limit = time.Second, math.MaxInt32
		}
		x, n := binary.Uvarint(b[i+1:])
		if n != len(b)-i-1 || x == 0 || x > limit {
			return errSource
		}
		s.Ahead, b = time.Duration(x)*unit, b[:i]
	}
	s.Partition, s.Offset, s.Line = int(v[0]), int64(v[1]), int(v[2])
	if string(b) != s.Topic {
		s.Topic = string(b)
	}
	return nil
}

// Compare orders sources by topic, partition, offset and line: by where they are.
func (s Source) Compare(t Source) int {
	return cmp.Or(
		cmp.Compare(s.Topic, t.Topic),
		cmp.Compare(s.Partition, t.Partition),
		cmp.Compare(s.Offset, t.Offset),
		cmp.Compare(s.Line, t.Line),
	)
}
