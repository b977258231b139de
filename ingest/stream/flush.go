package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/segmentio/kafka-go"
)

// maxRequestBytes bounds one request of all partitions together.
const maxRequestBytes = 16 << 20

// Flush returns nil when everything appended is acknowledged by all in-sync
// replicas, in order per partition. What fails is sent again until ctx ends;
// after an error what is not acknowledged stays, and the next Flush goes on.
//
// Records that are too large are left out and reported, each as a
// [*TooLargeError] in the error returned, when all others are acknowledged.
//
// A broker that answers that it does not know the producer or its sequence has
// lost records (an unclean election) or forgotten a producer that was idle for
// days. The batch then goes out under a new producer id, which is logged: if
// the broker had it after all, it is stored twice.
//
// A producer that has a name is not given a new id: it fails with [ErrFenced].
func (p *Producer) Flush(ctx context.Context) (err error) {
	if err := p.refresh(ctx); err != nil {
		return err
	}
	if err := p.place(ctx); err != nil {
		return err
	}
	what := fmt.Sprintf("produce as %d", p.id)
	defer func() { p.c.settled(what, err) }()
	for b := (backoff{}); len(p.busy) > 0; {
		progress, err := p.round(ctx)
		if err != nil && permanent(err) {
			return fmt.Errorf("%s: %w", what, p.c.advise(err))
		}
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(context.Cause(ctx), err))
		}
		if progress {
			b = backoff{}
		}
		if err == nil {
			continue
		}
		p.c.trouble(what, err)
		if b.wait(ctx) != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(context.Cause(ctx), err))
		}
	}
	err = errors.Join(p.dropped...)
	p.dropped = nil
	return err
}

// place finds the partitions of records that were appended before their number
// was known.
func (p *Producer) place(ctx context.Context) error {
	for _, t := range p.topics {
		if t.waiting == nil {
			t.next = (t.next + 1) % max(1, len(t.lanes))
			continue
		}
		if t.lanes == nil {
			n, err := p.c.Partitions(ctx, t.name)
			if err != nil {
				return err
			}
			t.lanes = make([]*lane, n)
			for i := range t.lanes {
				t.lanes[i] = &lane{topic: t.name, partition: int32(i), id: p.id, epoch: p.epoch}
			}
		}
		for _, partition := range t.targets {
			if partition >= len(t.lanes) {
				return &noPartitionError{t.name, int32(partition), len(t.lanes)}
			}
		}
		targets := t.targets
		t.waiting.each(func(at int64, key, value []byte, headers []Header) {
			p.put(t, at, targets[0], key, value, headers)
			targets = targets[1:]
		})
		p.free = append(p.free, t.waiting)
		t.waiting, t.targets = nil, t.targets[:0]
	}
	return nil
}

// round sends the first batch of every lane and takes in what the brokers say.
// It returns the last error that is to be retried, or the first that is not.
func (p *Producer) round(ctx context.Context) (progress bool, err error) {
	req := &produceRequest{Acks: -1, Timeout: int32(p.c.cfg.RequestTimeout.Milliseconds() * 8 / 10)}
	size := 0
	var lanes []*lane
	for _, l := range p.busy {
		if err := p.prepare(l); err != nil {
			return false, err
		}
		if len(l.queue) == 0 {
			continue
		}
		wire := l.queue[0].wire
		if size += len(wire); size > maxRequestBytes && len(lanes) > 0 {
			break
		}
		req.add(l.topic, l.partition, wire)
		lanes = append(lanes, l)
	}
	if len(lanes) > 0 {
		var results map[produceTarget]produceResult
		m, rerr := p.c.roundTrip(ctx, p.c.cfg.RequestTimeout, req)
		if o, ok := m.(*produceOutcome); ok {
			results = o.results
		}
		for _, l := range lanes {
			r, ok := results[produceTarget{l.topic, l.partition}]
			if !ok {
				r = produceResult{err: errors.Join(rerr, errNoAnswer), sent: true}
			}
			if r.err != nil {
				r.err = p.c.cause(ctx, r.err)
			}
			lerr := p.settle(ctx, l, r)
			progress = progress || lerr == nil
			if lerr != nil && (err == nil || !permanent(err)) {
				err = lerr
			}
		}
		// Lanes that wait longest come first in the next request.
		p.busy = append(p.busy[len(lanes):], p.busy[:len(lanes)]...)
	}
	busy := p.busy[:0]
	for _, l := range p.busy {
		if len(l.queue) > 0 {
			busy = append(busy, l)
		}
	}
	p.busy = busy
	return progress, err
}

var errNoAnswer = errors.New("no answer")

// prepare seals and numbers the first batch of a lane. A record that alone is
// larger than we may send is dropped and noted.
func (p *Producer) prepare(l *lane) error {
	for len(l.queue) > 0 {
		b := l.queue[0]
		if b.numbered {
			return nil
		}
		if b.wire == nil {
			if err := b.seal(&p.pack, p.c.codec, p.buffer()); err != nil {
				return err
			}
		}
		if b.count == 1 && len(b.wire)-sizePrefix > p.c.cfg.ProduceMaxBytes {
			p.drop(l, fmt.Errorf("produce_max_bytes is %d", p.c.cfg.ProduceMaxBytes))
			continue
		}
		b.number(l.id, l.epoch, l.sequence)
		return nil
	}
	return nil
}

func (p *Producer) buffer() []byte {
	n := len(p.packed)
	if n == 0 {
		return nil
	}
	b := p.packed[n-1]
	p.packed = p.packed[:n-1]
	return b
}

// drop leaves out the first batch of a lane, which is one record.
func (p *Producer) drop(l *lane, why error) {
	b := l.queue[0]
	b.each(func(at int64, key, _ []byte, headers []Header) {
		d := &TooLargeError{
			Topic: l.topic, Partition: int(l.partition), Time: time.UnixMilli(at), Key: bytes.Clone(key),
			Size: len(b.wire) - sizePrefix, Err: why,
		}
		for _, h := range headers {
			d.Headers = append(d.Headers, Header{Key: h.Key, Value: bytes.Clone(h.Value)})
		}
		p.dropped = append(p.dropped, d)
	})
	p.done(l)
}

// settle takes in what became of the first batch of a lane. An error means that
// the lane has to be sent again.
func (p *Producer) settle(ctx context.Context, l *lane, r produceResult) error {
	b := l.queue[0]
	var code kafka.Error
	errors.As(r.err, &code)
	switch {
	case r.err == nil, code == kafka.DuplicateSequenceNumber:
		p.c.metrics.produced.WithLabelValues(l.topic).Add(float64(b.count))
		p.c.metrics.producedBytes.WithLabelValues(l.topic).Add(float64(len(b.wire) - sizePrefix))
		l.sequence = int32((int64(l.sequence) + int64(b.count)) & math.MaxInt32)
		p.done(l)
		return nil
	case code == kafka.MessageSizeTooLarge, code == kafka.RecordListTooLarge:
		if b.count == 1 {
			p.drop(l, r.err)
			return nil
		}
		p.split(l)
		return nil
	case p.fence != nil && fenced(code):
		return errors.Join(ErrFenced, fmt.Errorf("%s/%d: %w", l.topic, l.partition, r.err))
	case fenced(code):
		return errors.Join(fmt.Errorf("%s/%d: %w", l.topic, l.partition, r.err), p.renew(ctx, l, r.err))
	}
	b.loose = b.loose || r.sent
	p.c.metrics.produceRetries.WithLabelValues(l.topic).Inc()
	return fmt.Errorf("%s/%d: %w", l.topic, l.partition, r.err)
}

// split replaces the first batch of a lane, which the broker refused as too
// large, by two.
func (p *Producer) split(l *lane) {
	b := l.queue[0]
	halves := []*batch{p.newBatch(), p.newBatch()}
	i := 0
	b.each(func(at int64, key, value []byte, headers []Header) {
		halves[i*2/b.count].add(at, key, value, headers)
		i++
	})
	rest := append([]*batch(nil), l.queue[1:]...)
	l.queue = append(append(l.queue[:1], halves...), rest...)
	// The open batch of a lane is its last: seal what comes before it.
	p.done(l)
}

// renew gives a lane a new producer id and numbers its first batch anew, in
// bytes of its own, since the old ones may still be in use.
func (p *Producer) renew(ctx context.Context, l *lane, why error) error {
	id, epoch, err := p.c.producerID(ctx)
	if err != nil {
		return err
	}
	p.c.log.Warn("broker lost track of the producer, sending under a new id; a batch may be stored twice",
		"topic", l.topic, "partition", l.partition, "err", why)
	l.id, l.epoch, l.sequence = id, epoch, 0
	b := l.queue[0]
	same := len(b.wire) > 0 && &b.wire[0] == &b.buf[0]
	b.wire = append([]byte(nil), b.wire...)
	if same {
		b.buf = b.wire
	}
	b.numbered, b.loose = false, false
	return nil
}
