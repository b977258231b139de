package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
)

// The decoder reads record sets itself because kafka-go's readers cannot be
// used here: with ReadCommitted they deliver records of aborted transactions
// and control batches, they never check a batch's CRC, they cannot tell the end
// of a compacted topic (a fetch that ends in an emptied batch sends Reader back
// to old offsets for ever), and they cost two to four times the CPU per record.

const (
	batchHeader = 61 // bytes before the records of a batch of format 2
	batchPrefix = 12 // of them, base offset and length, which the length does not count

	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20

	// maxRecords and heldBytes bound what is handed over at once.
	maxRecords = 4096
	heldBytes  = 8 << 20

	// maxBatchBytes bounds one batch after decompression: a batch is held as a
	// whole, and a megabyte can be made to unpack into ten thousand.
	maxBatchBytes = 64 << 20

	maxHeaderNames = 256 // distinct header names kept as strings
)

var (
	errCorrupt = errors.New("corrupt record batch")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// An oversizeError is a batch that would unpack into more than maxBatchBytes.
type oversizeError struct{ first, last int64 }

func (e *oversizeError) Error() string {
	return fmt.Sprintf("batch of offsets %d to %d unpacks into more than %d bytes", e.first, e.last, maxBatchBytes)
}

// A decoder turns record sets into records without copying them. The zero value
// wants topic and partition; reset gives it a record set, next takes records.
type decoder struct {
	topic     string
	partition int

	raw     []byte // batches not yet looked at
	offset  int64  // that is wanted next; past what next returned, control batches and compacted tails
	missing int    // bytes of the first batch when none was complete

	aborted []abortedTxn       // not yet reached, by first offset
	open    map[int64]struct{} // producers whose transaction in progress is going to be aborted

	batch   batchHead // whose records are being read
	records []byte
	left    int

	out     []Record
	headers []Header
	names   map[string]string

	unpacker unpacker
	scratch  [][]byte // unpacked batches; those below used belong to records handed over
	used     int
	held     int // bytes in them
}

type batchHead struct {
	base, last int64 // offsets
	delta      int64 // offset of the record read last, from base; -1 before the first
	time       int64 // ms, of the first record
	appended   int64 // ms, of every record when the broker stamps them, else -1
}

// reset starts on a record set. Records before offset from are left out.
func (d *decoder) reset(raw []byte, from int64, aborted []abortedTxn) {
	d.raw, d.offset, d.missing = raw, from, 0
	d.records, d.left = nil, 0
	d.aborted = aborted
	byFirst := func(a, b abortedTxn) int { return int(min(max(a.FirstOffset-b.FirstOffset, -1), 1)) }
	if !slices.IsSortedFunc(aborted, byFirst) {
		slices.SortFunc(aborted, byFirst)
	}
	clear(d.open)
	d.used, d.held = 0, 0
}

// next returns the next records, at most maxRecords of about heldBytes, none at
// the end of the record set. They are valid until next or reset is called.
func (d *decoder) next() ([]Record, error) {
	d.out, d.headers = d.out[:0], d.headers[:0]
	d.reuse()
	for len(d.out) < maxRecords {
		if d.left == 0 {
			if len(d.out) > 0 && d.held > heldBytes {
				break
			}
			ok, err := d.nextBatch()
			if err != nil {
				return d.stop(err)
			}
			if !ok {
				break
			}
			continue
		}
		if err := d.record(); err != nil {
			return d.stop(err)
		}
		if d.left == 0 {
			d.offset = d.batch.last + 1
		}
	}
	return d.out, nil
}

// stop hands over what was read before an error. The error comes back with the
// next call, which starts where this one ended.
func (d *decoder) stop(err error) ([]Record, error) {
	if len(d.out) > 0 {
		return d.out, nil
	}
	return nil, err
}

// skipOversize goes past a batch that next refused with an oversizeError.
func (d *decoder) skipOversize(e *oversizeError) {
	d.raw = d.raw[batchPrefix+int(binary.BigEndian.Uint32(d.raw[8:])):]
	d.offset = e.last + 1
}

// reuse frees the unpacked batches whose records were handed over. One that is
// only half read keeps its place.
func (d *decoder) reuse() {
	if d.left > 0 && d.used > 0 {
		d.scratch[0], d.scratch[d.used-1] = d.scratch[d.used-1], d.scratch[0]
		d.used, d.held = 1, len(d.scratch[0])
		return
	}
	d.used, d.held = 0, 0
}

// nextBatch opens the next batch with records for us. It moves on only past
// what it could read, so that after an error the same batch is met again.
func (d *decoder) nextBatch() (bool, error) {
	for len(d.raw) >= batchPrefix {
		n := int(int32(binary.BigEndian.Uint32(d.raw[8:])))
		if n < batchHeader-batchPrefix || n > maxFetchBytes {
			return false, d.corrupt("length %d", n)
		}
		n += batchPrefix
		if n > len(d.raw) {
			d.missing = n // the fetch size cut it off
			return false, nil
		}
		b := d.raw[:n]
		if b[16] != 2 {
			return false, d.corrupt("format %d, want 2", b[16])
		}
		if crc32.Checksum(b[21:], castagnoli) != binary.BigEndian.Uint32(b[17:]) {
			return false, d.corrupt("checksum does not match")
		}
		attrs := binary.BigEndian.Uint16(b[21:])
		base := int64(binary.BigEndian.Uint64(b))
		delta := int64(int32(binary.BigEndian.Uint32(b[23:])))
		producer := int64(binary.BigEndian.Uint64(b[43:]))
		count := int(int32(binary.BigEndian.Uint32(b[57:])))
		if base < 0 || delta < 0 || count < 0 || base > 1<<62 {
			return false, d.corrupt("negative offset or count")
		}
		last := base + delta
		d.reach(last)
		_, doomed := d.open[producer]
		if attrs&attrControl != 0 {
			if doomed && isAbort(b[batchHeader:]) {
				delete(d.open, producer)
			}
		} else if last >= d.offset && count > 0 && !(doomed && attrs&attrTransactional != 0) {
			records, err := d.unpack(b[batchHeader:], attrs&attrCodec)
			if errors.Is(err, errOversize) {
				return false, &oversizeError{base, last}
			}
			if err != nil {
				return false, d.corrupt("%v", err)
			}
			d.records, d.left = records, count
			d.batch = batchHead{base: base, last: last, delta: -1, time: int64(binary.BigEndian.Uint64(b[27:])), appended: -1}
			if attrs&attrLogAppendTime != 0 {
				d.batch.appended = int64(binary.BigEndian.Uint64(b[35:]))
			}
			d.raw = d.raw[n:]
			return true, nil
		}
		d.raw = d.raw[n:]
		d.offset = max(d.offset, last+1)
	}
	return false, nil
}

// reach marks the transactions that begin up to an offset and get aborted.
func (d *decoder) reach(last int64) {
	for len(d.aborted) > 0 && d.aborted[0].FirstOffset <= last {
		if d.open == nil {
			d.open = map[int64]struct{}{}
		}
		d.open[d.aborted[0].ProducerID] = struct{}{}
		d.aborted = d.aborted[1:]
	}
}

func (d *decoder) unpack(b []byte, codec uint16) ([]byte, error) {
	if codec == 0 {
		return b, nil
	}
	if d.used == len(d.scratch) {
		d.scratch = append(d.scratch, nil)
	}
	out, err := d.unpacker.unpack(d.scratch[d.used][:0], b, codec)
	if err != nil {
		return nil, err
	}
	d.scratch[d.used] = out
	d.used++
	d.held += len(out)
	return out, nil
}

// record reads one record of the open batch.
func (d *decoder) record() error {
	size, b, ok := varint(d.records)
	if !ok || size < 1 || size > int64(len(b)) {
		return d.corrupt("record length")
	}
	r, rest := b[1:size], b[size:] // without the attributes, which no version uses
	timeDelta, r, ok1 := varint(r)
	offsetDelta, r, ok2 := varint(r)
	key, r, ok3 := field(r)
	value, r, ok4 := field(r)
	count, r, ok5 := varint(r)
	if !(ok1 && ok2 && ok3 && ok4 && ok5) || count < 0 || count > int64(len(r)) {
		return d.corrupt("record fields")
	}
	if offsetDelta <= d.batch.delta || offsetDelta > d.batch.last-d.batch.base {
		return d.corrupt("offset out of order")
	}
	d.records, d.batch.delta = rest, offsetDelta
	d.left--
	offset := d.batch.base + offsetDelta
	if offset < d.offset {
		return nil
	}
	at := d.batch.appended
	if at < 0 {
		at = d.batch.time + timeDelta
	}
	rec := Record{Topic: d.topic, Partition: d.partition, Offset: offset, Time: time.UnixMilli(at), Key: key, Value: value}
	if count > 0 {
		first := len(d.headers)
		for range count {
			var name []byte
			var h Header
			if name, r, ok1 = field(r); !ok1 {
				return d.corrupt("record header")
			}
			if h.Value, r, ok1 = field(r); !ok1 {
				return d.corrupt("record header")
			}
			h.Key = d.name(name)
			d.headers = append(d.headers, h)
		}
		rec.Headers = d.headers[first:len(d.headers):len(d.headers)]
	}
	d.out = append(d.out, rec)
	d.offset = offset + 1
	return nil
}

// name makes a header's name a string, once for each of the few there are.
func (d *decoder) name(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.names) < maxHeaderNames {
		if d.names == nil {
			d.names = map[string]string{}
		}
		d.names[s] = s
	}
	return s
}

func (d *decoder) corrupt(format string, args ...any) error {
	return fmt.Errorf("%w after offset %d: %s", errCorrupt, d.offset-1, fmt.Sprintf(format, args...))
}

// isAbort reports whether a control batch ends its transaction by an abort.
func isAbort(b []byte) bool {
	_, b, ok := varint(b)
	if !ok || len(b) < 1 {
		return false
	}
	_, b, ok1 := varint(b[1:])
	_, b, ok2 := varint(b)
	key, _, ok3 := field(b)
	return ok1 && ok2 && ok3 && len(key) >= 4 && binary.BigEndian.Uint16(key[2:]) == 0
}

// field takes a length and as many bytes; a negative length is null.
func field(b []byte) (f, rest []byte, ok bool) {
	n, b, ok := varint(b)
	if !ok || n > int64(len(b)) {
		return nil, nil, false
	}
	if n < 0 {
		return nil, b, true
	}
	return b[:n:n], b[n:], true
}

func varint(b []byte) (v int64, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), b[1:], true
	}
	v, n := binary.Varint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}
