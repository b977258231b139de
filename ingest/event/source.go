package event

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"math"
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
	Ahead     int // seconds by which the event's clock was ahead of the broker's, where that was too far to be believed; else 0
}

// Told notes by how much the event's clock was ahead, as [Event.Admit] says.
func (s *Source) Told(ahead time.Duration) { s.Ahead = int(min(ahead/time.Second, math.MaxInt32)) }

var errSource = errors.New("event: source: is cut off or out of range, want partition, offset, line and topic")

// AppendBinary appends s to dst: partition, offset and line as uvarints, then the
// topic, and, where a clock was ahead, a zero byte and by how much.
func (s Source) AppendBinary(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(s.Partition))
	dst = binary.AppendUvarint(dst, uint64(s.Offset))
	dst = binary.AppendUvarint(dst, uint64(s.Line))
	dst = append(dst, s.Topic...)
	if s.Ahead > 0 {
		dst = binary.AppendUvarint(append(dst, 0), uint64(s.Ahead))
	}
	return dst
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
	ahead := uint64(0)
	if i := bytes.IndexByte(b, 0); i >= 0 {
		x, n := binary.Uvarint(b[i+1:])
		if n != len(b)-i-1 || x == 0 || x > math.MaxInt32 {
			return errSource
		}
		ahead, b = x, b[:i]
	}
	s.Partition, s.Offset, s.Line, s.Ahead = int(v[0]), int64(v[1]), int(v[2]), int(ahead)
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
