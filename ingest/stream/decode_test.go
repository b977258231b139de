package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// wire makes a batch as a broker would return it.
func wire(t testing.TB, base int64, codec uint16, change func(b []byte), vs ...string) []byte {
	t.Helper()
	var b batch
	b.reset()
	for i, v := range vs {
		b.add(1_000_000+int64(i), fmt.Append(nil, "k", i), []byte(v), []Header{{"name", []byte(v)}})
	}
	var p packer
	if err := b.seal(&p, codec, nil); err != nil {
		t.Fatal(err)
	}
	w := b.wire[sizePrefix:]
	binary.BigEndian.PutUint64(w, uint64(base))
	if change != nil {
		change(w)
	}
	binary.BigEndian.PutUint32(w[17:], crc32.Checksum(w[21:], castagnoli))
	return w
}

// packedBatch is a batch whose records are any bytes.
func packedBatch(codec uint16, count int, body []byte) []byte {
	w := make([]byte, batchHeader, batchHeader+len(body))
	w = append(w, body...)
	binary.BigEndian.PutUint32(w[8:], uint32(len(w)-batchPrefix))
	w[16] = 2
	binary.BigEndian.PutUint16(w[21:], codec)
	binary.BigEndian.PutUint32(w[23:], uint32(count-1))
	binary.BigEndian.PutUint32(w[57:], uint32(count))
	binary.BigEndian.PutUint32(w[17:], crc32.Checksum(w[21:], castagnoli))
	return w
}

func setAttrs(attrs uint16) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint16(b[21:], attrs) }
}

func setProducer(attrs uint16, producer int64) func([]byte) {
	return func(b []byte) {
		binary.BigEndian.PutUint16(b[21:], attrs)
		binary.BigEndian.PutUint64(b[43:], uint64(producer))
	}
}

// marker is the control batch that ends a transaction.
func marker(t testing.TB, base, producer int64, commit byte) []byte {
	t.Helper()
	var b batch
	b.reset()
	b.add(1, []byte{0, 0, 0, commit}, []byte("x"), nil)
	var p packer
	if err := b.seal(&p, codecNone, nil); err != nil {
		t.Fatal(err)
	}
	w := b.wire[sizePrefix:]
	binary.BigEndian.PutUint64(w, uint64(base))
	setProducer(attrControl|attrTransactional, producer)(w)
	binary.BigEndian.PutUint32(w[17:], crc32.Checksum(w[21:], castagnoli))
	return w
}

// decodeAll reads a record set to its end or its first error.
func decodeAll(d *decoder) (got []string, err error) {
	for {
		records, err := d.next()
		if err != nil || len(records) == 0 {
			return got, err
		}
		for _, r := range records {
			got = append(got, fmt.Sprintf("%d=%s", r.Offset, r.Value))
		}
	}
}

func TestDecode(t *testing.T) {
	abort, commit := byte(0), byte(1)
	txn := func(base, producer int64, vs ...string) []byte {
		return wire(t, base, codecNone, setProducer(attrTransactional, producer), vs...)
	}
	tests := []struct {
		name    string
		batches [][]byte
		from    int64
		aborted []abortedTxn
		want    []string
		offset  int64
		missing bool
	}{
		{name: "nothing", offset: 0},
		{name: "one batch", batches: [][]byte{wire(t, 5, 0, nil, "a", "b")}, from: 5, want: []string{"5=a", "6=b"}, offset: 7},
		{name: "from the middle of a batch", batches: [][]byte{wire(t, 5, 0, nil, "a", "b", "c")}, from: 6, want: []string{"6=b", "7=c"}, offset: 8},
		{name: "every codec", batches: [][]byte{
			wire(t, 0, codecLZ4, nil, "a"), wire(t, 1, codecZstd, nil, "b"), wire(t, 2, codecSnappy, nil, "c"), wire(t, 3, 0, nil, "d"),
		}, want: []string{"0=a", "1=b", "2=c", "3=d"}, offset: 4},
		{name: "batch that lies before", batches: [][]byte{wire(t, 0, 0, nil, "a"), wire(t, 1, 0, nil, "b")}, from: 1, want: []string{"1=b"}, offset: 2},
		{name: "gap between batches", batches: [][]byte{wire(t, 0, 0, nil, "a"), wire(t, 9, 0, nil, "b")}, want: []string{"0=a", "9=b"}, offset: 10},
		{name: "tail of a batch compacted away", batches: [][]byte{wire(t, 0, 0, func(b []byte) {
			binary.BigEndian.PutUint32(b[23:], 9)
		}, "a")}, want: []string{"0=a"}, offset: 10},
		{name: "batch emptied by compaction", batches: [][]byte{wire(t, 0, 0, func(b []byte) {
			binary.BigEndian.PutUint32(b[57:], 0)
			binary.BigEndian.PutUint32(b[23:], 4)
		}, "a")}, offset: 5},
		{name: "cut off in the second batch", batches: [][]byte{wire(t, 0, 0, nil, "a"), wire(t, 1, 0, nil, "b")[:70]}, want: []string{"0=a"}, offset: 1, missing: true},
		{name: "cut off in its length", batches: [][]byte{wire(t, 0, 0, nil, "a"), {0, 0, 0}}, want: []string{"0=a"}, offset: 1},
		{name: "markers are no records", batches: [][]byte{wire(t, 0, 0, nil, "a"), marker(t, 1, 7, commit)}, want: []string{"0=a"}, offset: 2},
		{name: "aborted transaction", batches: [][]byte{
			txn(0, 7, "no"), txn(1, 8, "yes"), txn(2, 7, "no"), marker(t, 3, 7, abort), txn(4, 7, "next"), marker(t, 5, 8, commit),
		}, aborted: []abortedTxn{{7, 0}}, want: []string{"1=yes", "4=next"}, offset: 6},
		{name: "two aborted transactions of one producer, listed in disorder", batches: [][]byte{
			txn(0, 7, "no"), marker(t, 1, 7, abort), txn(2, 7, "yes"), marker(t, 3, 7, commit), txn(4, 7, "no"), marker(t, 5, 7, abort),
		}, aborted: []abortedTxn{{7, 4}, {7, 0}}, want: []string{"2=yes"}, offset: 6},
		{name: "an aborted producer's records outside transactions", batches: [][]byte{
			txn(0, 7, "no"), wire(t, 1, 0, setProducer(0, 7), "yes"),
		}, aborted: []abortedTxn{{7, 0}}, want: []string{"1=yes"}, offset: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var d decoder
			d.reset(bytes.Join(tt.batches, nil), tt.from, tt.aborted)
			got, err := decodeAll(&d)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			if d.offset != tt.offset || (d.missing > 0) != tt.missing {
				t.Errorf("offset %d, missing %d; want %d, %t", d.offset, d.missing, tt.offset, tt.missing)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	f := func(name string, b []byte, good ...string) {
		t.Helper()
		var d decoder
		d.reset(append(wire(t, 0, 0, nil, "good"), b...), 0, nil)
		got, err := decodeAll(&d)
		if !errors.Is(err, errCorrupt) {
			t.Errorf("%s: error %v, want %v", name, err, errCorrupt)
		}
		if diff := cmp.Diff(append([]string{"0=good"}, good...), got); diff != "" {
			t.Errorf("%s: records before it (-want +got):\n%s", name, diff)
		}
	}
	flipped := wire(t, 1, 0, nil, "bad")
	flipped[len(flipped)-1] ^= 1
	f("a flipped bit", flipped)
	old := wire(t, 1, 0, nil, "bad")
	old[16] = 1
	f("an old format", old)
	f("a short length", wire(t, 1, 0, func(b []byte) { binary.BigEndian.PutUint32(b[8:], 3) }, "bad"))
	f("a negative length", wire(t, 1, 0, func(b []byte) { binary.BigEndian.PutUint32(b[8:], 1<<31) }, "bad"))
	f("a negative offset", wire(t, -1, 0, nil, "bad"))
	f("more records than it holds", wire(t, 1, 0, func(b []byte) { binary.BigEndian.PutUint32(b[57:], 9) }, "ok"), "1=ok")
	f("an offset outside the batch", wire(t, 1, 0, func(b []byte) { binary.BigEndian.PutUint32(b[23:], 0) }, "ok", "bad"), "1=ok")
	f("an unknown codec", wire(t, 1, 0, setAttrs(5), "bad"))
	for _, codec := range []uint16{codecGzip, codecSnappy, codecLZ4, codecZstd} {
		f(fmt.Sprint("no data of codec ", codec), wire(t, 1, 0, setAttrs(codec), "bad"))
	}
	for _, i := range []int{0, 4, 7, 11} { // of the record, key, value and headers
		f(fmt.Sprint("a length that lies at ", i), wire(t, 1, 0, func(b []byte) { b[batchHeader+i] = 0xff }, "bad"))
	}
}

func TestDecodeTimes(t *testing.T) {
	f := func(b []byte, want int64) {
		t.Helper()
		var d decoder
		d.reset(b, 0, nil)
		records, err := d.next()
		if err != nil || len(records) != 2 {
			t.Fatalf("%d records, %v", len(records), err)
		}
		if got := records[1].Time; !got.Equal(time.UnixMilli(want)) {
			t.Errorf("time of the second record = %d, want %d", got.UnixMilli(), want)
		}
	}
	f(wire(t, 0, 0, nil, "a", "b"), 1_000_001)
	f(wire(t, 0, 0, func(b []byte) {
		setAttrs(attrLogAppendTime)(b)
		binary.BigEndian.PutUint64(b[35:], 42)
	}, "a", "b"), 42)
}

// TestDecodeInSlices reads more than one call hands over, uncompressed and
// compressed, and checks that what was handed over stays as it is meanwhile.
func TestDecodeInSlices(t *testing.T) {
	var want []string
	var sets []byte
	offset := int64(0)
	for _, codec := range []uint16{codecNone, codecLZ4, codecZstd, codecSnappy, codecLZ4} {
		var vs []string
		for range 3000 {
			v := fmt.Sprint("value ", offset, strings.Repeat(".", 1000))
			vs = append(vs, v)
			want = append(want, fmt.Sprintf("%d=%s", offset, v))
			offset++
		}
		sets = append(sets, wire(t, offset-3000, codec, nil, vs...)...)
	}
	var d decoder
	d.reset(sets, 0, nil)
	var got []string
	for {
		records, err := d.next()
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			break
		}
		if len(records) > maxRecords {
			t.Errorf("%d records at once, want at most %d", len(records), maxRecords)
		}
		for _, r := range records {
			got = append(got, fmt.Sprintf("%d=%s", r.Offset, r.Value))
			if string(r.Headers[0].Value) != string(r.Value) {
				t.Fatalf("offset %d has the header of another record", r.Offset)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%.1000s", diff)
	}
	if held := len(d.scratch); held > 4 {
		t.Errorf("%d buffers for unpacked batches, want no more than are held at once", held)
	}
}

// TestDecodeBombs reads batches that unpack into more than can be held.
func TestDecodeBombs(t *testing.T) {
	zeros := make([]byte, maxBatchBytes+1)
	var gz, lz bytes.Buffer
	g := gzip.NewWriter(&gz)
	l := lz4.NewWriter(&lz)
	for _, w := range []interface {
		Write([]byte) (int, error)
		Close() error
	}{g, l} {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for codec, body := range map[uint16][]byte{codecGzip: gz.Bytes(), codecLZ4: lz.Bytes(), codecZstd: z.EncodeAll(zeros, nil)} {
		good := wire(t, 3, codecNone, nil, "after")
		var d decoder
		d.reset(append(packedBatch(codec, 3, body), good...), 0, nil)
		_, err := d.next()
		var over *oversizeError
		if !errors.As(err, &over) || over.first != 0 || over.last != 2 {
			t.Errorf("codec %d: %v, want an oversizeError of offsets 0 to 2", codec, err)
			continue
		}
		d.skipOversize(over)
		got, err := decodeAll(&d)
		if diff := cmp.Diff([]string{"3=after"}, got); diff != "" || err != nil {
			t.Errorf("codec %d, after skipping: %v (-want +got):\n%s", codec, err, diff)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	var vs []string
	for i := range 1000 {
		vs = append(vs, fmt.Sprint(i, strings.Repeat("x", 100)))
	}
	for _, codec := range []uint16{codecNone, codecLZ4, codecZstd, codecSnappy} {
		set := wire(t, 0, codec, nil, vs...)
		var d decoder
		read := func() {
			d.reset(set, 0, nil)
			for {
				records, err := d.next()
				if err != nil {
					t.Fatal(err)
				}
				if len(records) == 0 {
					return
				}
			}
		}
		read()
		if n := testing.AllocsPerRun(20, read); n > 20 { // the decompressors pool some
			t.Errorf("codec %d: %v allocations for 1000 records", codec, n)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{}, int64(0))
	var all []byte
	for i, codec := range []uint16{codecNone, codecSnappy, codecLZ4, codecZstd} {
		w := wire(f, int64(i*3), codec, nil, "a", "b", strings.Repeat("c", 300))
		all = append(all, w...)
		f.Add(w, int64(0))
		f.Add(w, int64(1))
	}
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	if _, err := g.Write(wire(f, 0, 0, nil, "a")[batchHeader:]); err != nil {
		f.Fatal(err)
	}
	if err := g.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(packedBatch(codecGzip, 1, gz.Bytes()), int64(0))
	chained := append([]byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x0a"), wire(f, 0, codecSnappy, nil, "a")[batchHeader:]...)
	f.Add(packedBatch(codecSnappy, 1, chained), int64(0))
	f.Add(append(all, marker(f, 12, 7, 0)...), int64(2))
	f.Add(wire(f, 0, 0, setProducer(attrTransactional, 7), "no"), int64(0))
	f.Add(wire(f, 0, 0, nil, "a", "b")[batchHeader:], int64(2<<8))
	f.Add(wire(f, 0, codecLZ4, nil, "a", "b")[batchHeader:], int64(2<<8|codecLZ4))
	f.Fuzz(func(t *testing.T, set []byte, from int64) {
		// As the records of a batch that is otherwise right, with codec and
		// count taken from the number.
		checkDecode(t, packedBatch(uint16(from&attrCodec), int(from>>8&0xff), set), 0)
		// As a whole record set. Its checksums are put right, or no mutation
		// gets past them.
		for b := set; len(b) >= batchHeader; {
			n := int(int32(binary.BigEndian.Uint32(b[8:]))) + batchPrefix
			if n < batchHeader || n > len(b) {
				break
			}
			binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:n], castagnoli))
			b = b[n:]
		}
		checkDecode(t, set, from)
	})
}

// checkDecode holds the decoder against what it promises of any bytes: it ends,
// and offsets rise.
func checkDecode(t *testing.T, set []byte, from int64) {
	var d decoder
	d.reset(set, from, []abortedTxn{{7, 0}, {9, 3}})
	last := from - 1
	for range 10_000 {
		before := d.offset
		records, err := d.next()
		var over *oversizeError
		if errors.As(err, &over) {
			d.skipOversize(over)
			continue
		}
		if err != nil && len(records) > 0 {
			t.Fatal("records beside an error")
		}
		if err != nil || len(records) == 0 {
			return
		}
		for i := range records {
			if records[i].Offset <= last && last >= 0 {
				t.Fatalf("offset %d after %d", records[i].Offset, last)
			}
			last = records[i].Offset
		}
		if d.offset <= last || d.offset <= before && before >= 0 {
			t.Fatalf("next offset %d after record %d, before it was %d", d.offset, last, before)
		}
	}
	t.Fatal("it does not end")
}
