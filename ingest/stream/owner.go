package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// errFenced says that the group has given our partitions to others.
var errFenced = errors.New("no longer a member of this generation")

// An owner works on one partition for one generation of its group.
type owner struct {
	c         *Client
	group     string
	gen       *kafka.Generation
	open      Opener
	topic     string
	partition int
	log       *slog.Logger

	committed int64 // offset of the group; negative before anything was committed
	fresh     int   // records processed since the last checkpoint
	pending   bool  // something processed is not durable yet
	since     time.Time
	lag       *lag

	notes  bool  // of how far it is processed, see [Group]
	noted  int64 // in the last one
	noteAt time.Time
}

// run owns the partition until ctx ends or the group has moved on. Every error
// closes the processor and starts again at the last commit.
func (o *owner) run(ctx context.Context) {
	o.lag = o.c.metrics.lag.add(o.group, o.topic, o.partition)
	defer o.c.metrics.lag.remove(o.lag)
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { o.lag.watch(watching, o.c, o.partition) })
	defer watch.Wait()
	defer stop()
	defer o.c.recovered(o.fetching())
	defer o.c.recovered(o.processing())
	for b := (backoff{}); ctx.Err() == nil; {
		before := o.committed
		err := o.own(ctx)
		if err == nil {
			return
		}
		if errors.Is(err, errFenced) {
			o.log.Warn("lost the partition", "err", err)
			return
		}
		if ctx.Err() != nil {
			o.log.Warn("gave up the partition without a last checkpoint", "err", err)
			return
		}
		if errors.Is(err, ErrFenced) && o.evicted() {
			// To open again would fence the owner that is in the right.
			o.log.Warn("lost the partition", "err", err)
			return
		}
		if o.committed > before {
			b = backoff{}
		}
		o.c.metrics.reopened.WithLabelValues(o.group, o.topic).Inc()
		o.c.health.fail(o.processing(), err)
		o.log.Error("opening the partition again from its last commit", "err", err, "offset", o.committed)
		if b.wait(ctx) != nil {
			return
		}
	}
}

// own opens the partition and processes it until ctx ends, then makes a last
// checkpoint. It returns an error of the processor, and a panic as one.
func (o *owner) own(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(err, fmt.Errorf("processor panicked: %v\n%s", p, debug.Stack()))
		}
	}()
	if o.committed < 0 {
		first, err := o.first(ctx)
		if err != nil {
			return err
		}
		o.committed = first
	}
	o.lag.next.Store(o.committed)
	proc, err := o.open(ctx, Owned{Topic: o.topic, Partition: o.partition, Next: o.committed, Generation: o.gen.ID})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if c, ok := proc.(io.Closer); ok {
		defer func() {
			if cerr := c.Close(); cerr != nil {
				err = errors.Join(err, fmt.Errorf("close: %w", cerr))
			}
		}()
	}
	// What makes a checkpoint goes on for a while after ctx ends, so that a
	// partition that moves need not be replayed by its next owner.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		t := time.AfterFunc(o.c.cfg.drain(), stop)
		context.AfterFunc(work, func() { t.Stop() })
	})()

	r := o.c.newReader(o.topic, o.partition, o.committed)
	defer r.release()
	o.fresh, o.pending, o.since = 0, false, time.Now()
	for ctx.Err() == nil {
		if err := o.step(ctx, work, r, proc); err != nil {
			return err
		}
	}
	return o.checkpoint(work, proc, r.next, true)
}

// first is the offset of the first record there is.
func (o *owner) first(ctx context.Context) (first int64, err error) {
	err = o.c.offsets(ctx, o.topic, []int{o.partition}, func(_ int, at Range) { first = at.First })
	return first, err
}

// step fetches once and processes what came, with checkpoints where they are due.
func (o *owner) step(ctx, work context.Context, r *reader, proc Processor) error {
	f, err := o.fetch(ctx, r)
	if err != nil || ctx.Err() != nil {
		return err
	}
	o.lag.next.Store(r.next)
	o.lag.learn(f.highWatermark)
	for ctx.Err() == nil {
		records, err := r.dec.next()
		var over *oversizeError
		if errors.As(err, &over) {
			o.skipped(r, over)
			continue
		}
		if err != nil {
			return err
		}
		if len(records) > 0 {
			if err := proc.Process(ctx, records); err != nil {
				return fmt.Errorf("process offsets %d to %d: %w", records[0].Offset, records[len(records)-1].Offset, err)
			}
			o.fresh += len(records)
			o.pending = true
			o.c.metrics.fetchedRecords.WithLabelValues(o.topic).Add(float64(len(records)))
		}
		r.next = r.dec.offset
		o.lag.next.Store(r.next)
		o.note(ctx, r.next)
		if o.due() {
			if err := o.checkpoint(work, proc, r.next, o.fresh == 0); err != nil {
				return err
			}
		}
		if len(records) == 0 {
			break
		}
	}
	if r.dec.missing > 0 {
		return r.grow()
	}
	return nil
}

// fetch repeats until the broker answers or ctx ends. Trouble with Kafka is no
// reason to throw the processor away.
func (o *owner) fetch(ctx context.Context, r *reader) (fetched, error) {
	for b := (backoff{}); ; {
		f, err := r.fetch(ctx)
		if ctx.Err() != nil {
			return fetched{}, nil
		}
		if err == nil {
			o.c.recovered(o.fetching())
			return f, nil
		}
		o.c.trouble(o.fetching(), err)
		if errors.Is(err, kafka.OffsetOutOfRange) {
			if err := r.reset(ctx); err != nil {
				return fetched{}, err
			}
		}
		if b.wait(ctx) != nil {
			return fetched{}, nil
		}
	}
}

// evicted asks the group whether it still knows us as the owner: it takes
// commits from nobody else.
func (o *owner) evicted() bool {
	err := o.gen.CommitOffsets(map[string]map[int]int64{o.topic: {o.partition: o.committed}})
	return notMember(err)
}

func notMember(err error) bool {
	return errors.Is(err, kafka.IllegalGeneration) || errors.Is(err, kafka.UnknownMemberId) || errors.Is(err, kafka.FencedInstanceID)
}

// fetching and processing name our troubles.
func (o *owner) fetching() string {
	return "fetch " + partitionKey(o.topic, o.partition) + " for " + o.group
}
func (o *owner) processing() string {
	return "process " + partitionKey(o.topic, o.partition) + " for " + o.group
}

func (o *owner) skipped(r *reader, over *oversizeError) {
	n := over.last - max(over.first, r.dec.offset) + 1
	o.c.metrics.skipped.WithLabelValues(o.topic, "oversize").Add(float64(n))
	o.log.Error("skipped a batch that cannot be unpacked within bounds", "err", over, "skipped", n)
	r.dec.skipOversize(over)
}

func (o *owner) due() bool {
	return o.fresh >= o.c.cfg.CheckpointRecords || time.Since(o.since) >= o.c.cfg.CheckpointInterval
}

// checkpoint has the processor make durable what it did before next, or of a
// [Partial] a part of it, and commits the offset before which everything is.
// Where nothing was processed only the offset moves.
func (o *owner) checkpoint(ctx context.Context, proc Processor, next int64, all bool) error {
	start := time.Now()
	o.since, o.fresh = start, 0
	if o.pending {
		durable, err := next, error(nil)
		if part, ok := proc.(Partial); ok && !all {
			durable, err = part.CheckpointPart(ctx, next)
		} else {
			err = proc.Checkpoint(ctx)
		}
		if err != nil {
			return fmt.Errorf("checkpoint before offset %d: %w", next, err)
		}
		o.pending, next = durable < next, durable
		o.c.recovered(o.processing())
	}
	if next <= o.committed {
		return nil
	}
	switch err := o.gen.CommitOffsets(map[string]map[int]int64{o.topic: {o.partition: next}}); {
	case err == nil:
		o.committed = next
		o.c.metrics.checkpoints.WithLabelValues(o.group, o.topic).Inc()
		o.c.metrics.checkpointTime.WithLabelValues(o.group).Observe(time.Since(start).Seconds())
	case notMember(err):
		o.c.metrics.commitErrors.WithLabelValues(o.group).Inc()
		return errors.Join(errFenced, err)
	default:
		// The next checkpoint commits this offset or a later one.
		o.c.metrics.commitErrors.WithLabelValues(o.group).Inc()
		o.log.Warn("commit failed, trying again with the next checkpoint", "err", err, "offset", next)
	}
	return nil
}
