package stream

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/segmentio/kafka-go/protocol/initproducerid"
)

// A Producer writes records. Append gathers them, Flush sends them. It is for
// one goroutine at a time.
//
// Every batch carries a producer id and a sequence number, so the brokers store
// it once however often it is sent again. Only when a broker has lost its
// memory of the producer can a batch be stored twice; see [Producer.Flush].
type Producer struct {
	c       *Client
	id      int64
	epoch   int16
	topics  map[string]*outTopic
	busy    []*lane // lanes with batches, in the order they got their first
	free    []*batch
	packed  [][]byte // free buffers for compressed batches
	pack    packer
	dropped []error // records that no broker takes, since the last Flush
	fence   *fence  // nil unless it is the one of its name
}

// An outTopic is a topic written to.
type outTopic struct {
	name    string
	lanes   []*lane // by partition; nil until the number of partitions is known
	waiting *batch  // records appended before that, in a batch of their own
	targets []int   // of the waiting records, as they were passed
	next    int     // partition that gets the next records without a key
}

// A lane is the way to one partition. Its batches are sent one after the other.
type lane struct {
	topic     string
	partition int32
	id        int64
	epoch     int16
	sequence  int32 // of the next batch to be numbered
	queue     []*batch
}

// A TooLargeError is a record that is larger than the broker or our own limit
// allows. Flush has left it out and delivered all others.
type TooLargeError struct {
	Topic     string
	Partition int
	Time      time.Time
	Key       []byte
	Headers   []Header
	Size      int // bytes of the batch that holds the record alone, compressed
	Err       error
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("record for %s/%d with key %.64q is too large: %d bytes: %v", e.Topic, e.Partition, e.Key, e.Size, e.Err)
}

func (e *TooLargeError) Unwrap() error { return e.Err }

type noPartitionError struct {
	topic     string
	partition int32
	count     int
}

func (e *noPartitionError) Error() string {
	return fmt.Sprintf("topic %s has %d partitions, want to write partition %d", e.topic, e.count, e.partition)
}

// NewProducer gets a producer id from the brokers. It retries until ctx ends.
func (c *Client) NewProducer(ctx context.Context) (*Producer, error) {
	p := &Producer{c: c, topics: map[string]*outTopic{}}
	var err error
	if p.id, p.epoch, err = c.producerID(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

func (c *Client) producerID(ctx context.Context) (id int64, epoch int16, err error) {
	err = c.retry(ctx, "get a producer id", func(ctx context.Context) error {
		m, err := c.roundTrip(ctx, c.cfg.RequestTimeout, &initRequest{ProducerID: -1, ProducerEpoch: -1})
		if err != nil {
			return err
		}
		res, ok := m.(*initproducerid.Response)
		if !ok {
			return fmt.Errorf("answer is a %T", m)
		}
		id, epoch = res.ProducerID, res.ProducerEpoch
		return codeError(res.ErrorCode)
	})
	return id, epoch, err
}

// Append adds a record with the present time. See [Producer.AppendAt].
func (p *Producer) Append(topic string, partition int, key, value []byte, headers ...Header) {
	p.AppendAt(time.Now(), topic, partition, key, value, headers...)
}

// AppendAt adds a record; key, value and headers are copied. A negative
// partition is chosen by the key as Java's client does it, without a key by
// turns. A nil value is a tombstone. Brokers refuse times more than an hour
// ahead of theirs.
//
// How many partitions a topic has is looked up once per Producer: one that
// grows changes the partition of a key only with the next Producer.
func (p *Producer) AppendAt(at time.Time, topic string, partition int, key, value []byte, headers ...Header) {
	t, ok := p.topics[topic]
	if !ok {
		t = &outTopic{name: topic}
		p.topics[topic] = t
	}
	if t.lanes != nil && partition < len(t.lanes) {
		p.put(t, at.UnixMilli(), partition, key, value, headers)
		return
	}
	if t.waiting == nil {
		t.waiting = p.newBatch()
	}
	t.waiting.add(at.UnixMilli(), key, value, headers)
	t.targets = append(t.targets, partition)
}

// Buffered is the number of bytes that were appended and are not yet acknowledged.
func (p *Producer) Buffered() (n int) {
	for _, l := range p.busy {
		for _, b := range l.queue {
			n += b.size()
		}
	}
	for _, t := range p.topics {
		if t.waiting != nil {
			n += t.waiting.size()
		}
	}
	return n
}

// put adds a record to the open batch of its lane.
func (p *Producer) put(t *outTopic, at int64, partition int, key, value []byte, headers []Header) {
	switch {
	case partition >= 0:
	case key == nil:
		partition = t.next
	default:
		partition = int(murmur2(key)&math.MaxInt32) % len(t.lanes)
	}
	p.enqueue(t.lanes[partition], at, key, value, headers)
}

func (p *Producer) enqueue(l *lane, at int64, key, value []byte, headers []Header) {
	var b *batch
	if n := len(l.queue); n > 0 && l.queue[n-1].wire == nil {
		b = l.queue[n-1]
		// A record alone may exceed the limit: compression can bring it below.
		if b.size()+recordSize(at-b.first, b.count, key, value, headers)+recordExtra > p.c.cfg.ProduceMaxBytes {
			b = nil
		}
	}
	if b == nil {
		b = p.newBatch()
		if len(l.queue) == 0 {
			p.busy = append(p.busy, l)
		}
		l.queue = append(l.queue, b)
	}
	b.add(at, key, value, headers)
}

func (p *Producer) newBatch() *batch {
	b := &batch{}
	if n := len(p.free); n > 0 {
		b, p.free = p.free[n-1], p.free[:n-1]
	}
	b.reset()
	return b
}

// done frees the first batch of a lane.
func (p *Producer) done(l *lane) {
	b := l.queue[0]
	l.queue = append(l.queue[:0], l.queue[1:]...)
	if b.loose {
		return
	}
	if p.c.codec != codecNone {
		p.packed = append(p.packed, b.wire)
	}
	p.free = append(p.free, b)
}

// murmur2 is the hash by which Java's client chooses a partition.
func murmur2(b []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
