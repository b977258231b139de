package event

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
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
}

var errSource = errors.New("event: source: is cut off or out of range, want partition, offset, line and topic")

// AppendBinary appends s to dst: partition, offset and line as uvarints, then the topic.
func (s Source) AppendBinary(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(s.Partition))
	dst = binary.AppendUvarint(dst, uint64(s.Offset))
	dst = binary.AppendUvarint(dst, uint64(s.Line))
	return append(dst, s.Topic...)
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
	s.Partition, s.Offset, s.Line = int(v[0]), int64(v[1]), int(v[2])
	if string(b) != s.Topic {
		s.Topic = string(b)
	}
	return nil
}

// Compare orders sources by topic, partition, offset and line.
func (s Source) Compare(t Source) int {
	return cmp.Or(
		cmp.Compare(s.Topic, t.Topic),
		cmp.Compare(s.Partition, t.Partition),
		cmp.Compare(s.Offset, t.Offset),
		cmp.Compare(s.Line, t.Line),
	)
}
