package stream

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// A batch is records of one partition in Kafka's format 2, as they go over the
// wire: behind their length, with a header that is filled in when they are sent.
type batch struct {
	buf   []byte // length, header, records
	wire  []byte // the same with the records compressed; buf itself without compression
	count int
	first int64 // ms
	last  int64 // ms, the latest

	// numbered says that the batch has its sequence number. From then on its
	// bytes never change, so that the broker knows it again.
	numbered bool
	// loose says that a request with these bytes was given up: something may
	// still be reading them, so they are not used again.
	loose bool
}

const (
	sizePrefix  = 4
	batchStart  = sizePrefix + batchHeader // of the records in a batch's bytes
	recordExtra = 5 * binary.MaxVarintLen32
)

func (b *batch) reset() {
	b.buf = append(b.buf[:0], make([]byte, batchStart)...)
	b.wire, b.count, b.first, b.last = nil, 0, 0, math.MinInt64
	b.numbered, b.loose = false, false
}

// size is the length of the batch, uncompressed, as the broker counts it.
func (b *batch) size() int { return len(b.buf) - sizePrefix }

// add appends a record.
func (b *batch) add(at int64, key, value []byte, headers []Header) {
	if b.count == 0 {
		b.first = at
	}
	b.last = max(b.last, at)
	b.buf = binary.AppendVarint(b.buf, int64(recordSize(at-b.first, b.count, key, value, headers)))
	b.buf = append(b.buf, 0) // attributes
	b.buf = binary.AppendVarint(b.buf, at-b.first)
	b.buf = binary.AppendVarint(b.buf, int64(b.count))
	b.buf = appendField(b.buf, key)
	b.buf = appendField(b.buf, value)
	b.buf = binary.AppendVarint(b.buf, int64(len(headers)))
	for i := range headers {
		b.buf = binary.AppendVarint(b.buf, int64(len(headers[i].Key)))
		b.buf = append(b.buf, headers[i].Key...)
		b.buf = appendField(b.buf, headers[i].Value)
	}
	b.count++
}

func appendField(b, f []byte) []byte {
	if f == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(f))), f...)
}

// recordSize is the length of a record behind its own length.
func recordSize(timeDelta int64, offsetDelta int, key, value []byte, headers []Header) int {
	n := 1 + varintLen(timeDelta) + varintLen(int64(offsetDelta)) + fieldSize(key) + fieldSize(value) + varintLen(int64(len(headers)))
	for i := range headers {
		n += varintLen(int64(len(headers[i].Key))) + len(headers[i].Key) + fieldSize(headers[i].Value)
	}
	return n
}

func fieldSize(f []byte) int {
	if f == nil {
		return 1
	}
	return varintLen(int64(len(f))) + len(f)
}

func varintLen(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}

// seal compresses the records; nothing can be added any more.
func (b *batch) seal(p *packer, codec uint16, into []byte) error {
	b.wire = b.buf
	if codec != codecNone {
		wire, err := p.pack(append(into[:0], b.buf[:batchStart]...), b.buf[batchStart:], codec)
		if err != nil {
			return err
		}
		b.wire = wire
	}
	w := b.wire[sizePrefix:]
	binary.BigEndian.PutUint32(b.wire, uint32(len(w)))
	binary.BigEndian.PutUint64(w, 0) // base offset: the broker's to set
	binary.BigEndian.PutUint32(w[8:], uint32(len(w)-batchPrefix))
	binary.BigEndian.PutUint32(w[12:], math.MaxUint32) // leader epoch -1
	w[16] = 2
	binary.BigEndian.PutUint16(w[21:], codec)
	binary.BigEndian.PutUint32(w[23:], uint32(b.count-1))
	binary.BigEndian.PutUint64(w[27:], uint64(b.first))
	binary.BigEndian.PutUint64(w[35:], uint64(b.last))
	binary.BigEndian.PutUint32(w[57:], uint32(b.count))
	return nil
}

// number gives a sealed batch its place in a producer's sequence.
func (b *batch) number(producer int64, epoch int16, sequence int32) {
	w := b.wire[sizePrefix:]
	binary.BigEndian.PutUint64(w[43:], uint64(producer))
	binary.BigEndian.PutUint16(w[51:], uint16(epoch))
	binary.BigEndian.PutUint32(w[53:], uint32(sequence))
	binary.BigEndian.PutUint32(w[17:], crc32.Checksum(w[21:], castagnoli))
	b.numbered = true
}

// each calls fn for every record of the batch. What fn gets points into it.
func (b *batch) each(fn func(at int64, key, value []byte, headers []Header)) {
	rest := b.buf[batchStart:]
	var headers []Header
	for range b.count {
		var size, delta, n int64
		size, rest, _ = varint(rest)
		r := rest[1:size]
		rest = rest[size:]
		delta, r, _ = varint(r)
		_, r, _ = varint(r)
		key, r, _ := field(r)
		value, r, _ := field(r)
		n, r, _ = varint(r)
		headers = headers[:0]
		for range n {
			var name []byte
			var h Header
			name, r, _ = field(r)
			h.Value, r, _ = field(r)
			h.Key = string(name)
			headers = append(headers, h)
		}
		fn(b.first+delta, key, value, headers)
	}
}
