package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
)

// ErrFenced says that the brokers refuse a producer of [Client.NewFencedProducer],
// because a later one has its name or because they do not know it any more.
// Nothing it writes from then on is stored.
var ErrFenced = errors.New("another producer has taken over")

const (
	// fenceTimeout is for transactions, of which a fenced producer makes none.
	fenceTimeout = time.Minute
	// fenceRefresh is how often a fenced producer shows the brokers that its
	// name is in use. They forget a name after transactional.id.expiration.ms,
	// a week by default, and a later producer would then fence nobody.
	fenceRefresh = 24 * time.Hour
)

// A fence is what a fenced producer has beside its id and epoch.
type fence struct {
	name  string
	shown time.Time
}

// NewFencedProducer gets the one producer of a name: a transactional id, for
// which whoever writes needs the right. It retries until ctx ends. When it
// returns, every earlier producer of the name has an older epoch. A partition
// refuses those from the first record on that the new one has written to it;
// their Flush then fails with [ErrFenced].
//
// So an owner that first writes to a partition and then reads it to its end has
// read all that any earlier owner can ever have stored there. No transactions
// are made: what is written can be read at once.
//
// There are limits. A broker forgets the epochs of a partition that nobody wrote
// to for producer.id.expiration.ms, a day by default. After some 32,000
// producers of a name the epochs begin anew under another id, and that one
// takeover fences nobody.
func (c *Client) NewFencedProducer(ctx context.Context, name string) (*Producer, error) {
	p := &Producer{c: c, topics: map[string]*outTopic{}, fence: &fence{name: name}}
	if err := p.takeOver(ctx, -1, -1); err != nil {
		return nil, err
	}
	return p, nil
}

// takeOver raises the epoch of the producer's name: from that of a given
// producer, if that is still the last one, or, without one, from whatever it is.
func (p *Producer) takeOver(ctx context.Context, id int64, epoch int16) error {
	c := p.c
	return c.retry(ctx, "get producer "+p.fence.name, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
		defer cancel()
		m, err := c.transport.RoundTrip(ctx, c.addr, &initproducerid.Request{
			TransactionalID: p.fence.name, TransactionTimeoutMs: int32(fenceTimeout.Milliseconds()), ProducerID: id, ProducerEpoch: epoch,
		})
		if err != nil {
			return c.cause(ctx, err)
		}
		c.health.answer()
		res, ok := m.(*initproducerid.Response)
		if !ok {
			return fmt.Errorf("answer is a %T", m)
		}
		if err := codeError(res.ErrorCode); err != nil {
			if id >= 0 && fenced(kafka.Error(res.ErrorCode)) {
				return errors.Join(ErrFenced, err)
			}
			return err
		}
		if id >= 0 && (res.ProducerID != id || res.ProducerEpoch != epoch+1) {
			return fmt.Errorf("%w: after epoch %d of %d comes %d of %d", ErrFenced, epoch, id, res.ProducerEpoch, res.ProducerID)
		}
		p.id, p.epoch, p.fence.shown = res.ProducerID, res.ProducerEpoch, time.Now()
		return nil
	})
}

// fenced reports whether a code says that a producer is not the last of its name.
func fenced(code kafka.Error) bool {
	switch code {
	case kafka.InvalidProducerEpoch, kafka.InvalidProducerIDMapping, kafka.UnknownProducerId, kafka.OutOfOrderSequenceNumber, kafka.ProducerFenced:
		return true
	}
	return false
}

// refresh shows once in a while that a fenced producer's name is in use. Its
// sequences begin anew then, so it waits until nothing is under way.
func (p *Producer) refresh(ctx context.Context) error {
	if p.fence == nil || time.Since(p.fence.shown) < fenceRefresh {
		return nil
	}
	for _, l := range p.busy {
		if len(l.queue) > 0 && l.queue[0].numbered {
			return nil
		}
	}
	if err := p.takeOver(ctx, p.id, p.epoch); err != nil {
		return err
	}
	for _, t := range p.topics {
		for _, l := range t.lanes {
			l.id, l.epoch, l.sequence = p.id, p.epoch, 0
		}
	}
	return nil
}
