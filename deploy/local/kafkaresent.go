package local

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A broker knows by the sequence numbers of a producer's last batches what is sent to it a
// second time, because its acknowledgement was lost. The embedded one writes them down when it
// is stopped, and not when it is killed: then a batch that it had taken would be taken again,
// and a producer that goes on would be told that it is out of order. Apache Kafka reads them
// from its logs, and so do we, before the broker starts.

// remembered is how many batches of a producer are known again, as in Apache Kafka.
const remembered = 5

// A window is what is known of one producer in one partition, in the form that the broker writes.
type window struct {
	Producer  int64            `json:"pid"`
	Topic     string           `json:"topic"`
	Partition int32            `json:"partition"`
	Entries   [remembered]sent `json:"entries"` // a ring
	Count     uint8            `json:"count"`   // of them in use
	At        uint8            `json:"at"`      // the oldest, or the first that is not in use
	Epoch     int16            `json:"epoch"`
	Seen      bool             `json:"seen"`
	Next      int32            `json:"next_seq"`
}

// sent is one batch: its sequence numbers and the offset that it was given.
type sent struct {
	First  int32 `json:"first_seq"`
	Next   int32 `json:"next_seq"`
	Offset int64 `json:"offset"`
}

type windows struct {
	Version int       `json:"version"`
	Windows []*window `json:"windows"`
}

// take notes a batch that stands in the log, if it is later than what is known.
func (w *window) take(b *kmsg.RecordBatch) {
	if w.Seen && b.FirstOffset <= w.latest() {
		return
	}
	if !w.Seen || w.Epoch != b.ProducerEpoch {
		*w = window{Producer: w.Producer, Topic: w.Topic, Partition: w.Partition, Epoch: b.ProducerEpoch, Seen: true}
	}
	// Compaction takes records out of a batch, but leaves it its last offset.
	w.Next = int32((int64(b.FirstSequence) + int64(b.LastOffsetDelta) + 1) % math.MaxInt32)
	w.Entries[w.At] = sent{First: b.FirstSequence, Next: w.Next, Offset: b.FirstOffset}
	w.At = (w.At + 1) % remembered
	w.Count = min(w.Count+1, remembered)
}

// latest is the offset of the last batch that is known, -1 for none.
func (w *window) latest() int64 {
	last := int64(-1)
	for _, e := range w.Entries[:min(w.Count, remembered)] {
		last = max(last, e.Offset)
	}
	return last
}

// repairSequences has the broker that starts over dir know what it had taken when it was killed.
func repairSequences(dir string) error {
	file := filepath.Join(dir, "seq_windows.json")
	known := windows{Version: 1}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", file, err)
	}
	segments, err := segmentsOf(dir)
	if err != nil {
		return err
	}
	type key struct {
		producer  int64
		topic     string
		partition int32
	}
	at := map[key]*window{}
	for _, w := range known.Windows {
		at[key{w.Producer, w.Topic, w.Partition}] = w
	}
	for _, s := range segments {
		raw, err := os.ReadFile(s.file)
		if err != nil {
			return err
		}
		batches(raw, func(b *kmsg.RecordBatch) {
			if b.ProducerID < 0 || b.Attributes&control != 0 {
				return
			}
			k := key{b.ProducerID, s.topic, s.partition}
			if at[k] == nil {
				at[k] = &window{Producer: k.producer, Topic: k.topic, Partition: k.partition}
				known.Windows = append(known.Windows, at[k])
			}
			at[k].take(b)
		})
	}
	if text, err = json.Marshal(known); err != nil {
		return err
	}
	fresh := file + ".tmp"
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, file)
}

// control is the attribute of a batch that is no data: the end of a transaction.
const control = 0x20

// A segment is one file of the log of a partition.
type segment struct {
	file      string
	topic     string
	partition int32
	base      int64 // its first offset
}

// segmentsOf lists the segments of all partitions, each in the order of its offsets.
func segmentsOf(dir string) (all []segment, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "partitions", "*", "*.dat"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file)) // topic-partition
		cut := strings.LastIndexByte(name, '-')
		if cut < 0 {
			continue
		}
		topic, terr := url.PathUnescape(name[:cut])
		partition, perr := strconv.ParseInt(name[cut+1:], 10, 32)
		base, berr := strconv.ParseInt(strings.TrimSuffix(filepath.Base(file), ".dat"), 10, 64)
		if errors.Join(terr, perr, berr) != nil {
			continue // not the broker's
		}
		all = append(all, segment{file, topic, int32(partition), base})
	}
	slices.SortStableFunc(all, func(a, b segment) int { return cmp.Compare(a.base, b.base) })
	return all, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The bytes of a batch, which begins with its first offset, its length and the epoch of the leader.
const (
	batchLength = 8  // where the length stands, of what follows it
	batchStart  = 12 // of what the length counts
	batchSum    = 17 // where the checksum stands, of what follows it
	batchSummed = 21
	batchLeast  = 61 // of all before the records
)

// batches yields the batches of a segment up to where it is torn, as the broker does.
func batches(raw []byte, yield func(*kmsg.RecordBatch)) {
	for len(raw) >= batchLeast {
		n := batchStart + int64(binary.BigEndian.Uint32(raw[batchLength:]))
		if n < batchLeast || n > int64(len(raw)) || crc32.Checksum(raw[batchSummed:n], castagnoli) != binary.BigEndian.Uint32(raw[batchSum:]) {
			return
		}
		var b kmsg.RecordBatch
		if b.ReadFrom(raw[:n]) != nil {
			return
		}
		yield(&b)
		raw = raw[n:]
	}
}
