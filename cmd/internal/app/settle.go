package app

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

const (
	settleTick = 25 * time.Millisecond  // between two looks, while everybody is quick
	settleSlow = 500 * time.Millisecond // while somebody is not
)

// settle lets the facts of this process's partitions be judged, until ctx ends. A fact may
// be judged when detect.settle has passed since the broker took its line, and when all that
// the raw topics hold by then has become events and all these have told their facts. What
// lies before it in time has then been told, from whatever partition it comes and however
// far that one was behind, if the broker had it by then. A cut in the log of the facts says so.
func (s *sharing) settle(ctx context.Context) error {
	out, err := s.client.NewProducer(ctx)
	if err != nil {
		return err
	}
	b := barrier{sharing: s, stood: map[stood]standing{}}
	for pause(ctx, settleTick) {
		before := time.Now().Add(-s.cfg.Settle)
		if !s.waits.any(before) {
			continue
		}
		for _, topic := range s.topics.Raw {
			if err := b.pass(ctx, s.groups.Ingest, topic); err != nil {
				return err
			}
		}
		if err := b.pass(ctx, s.groups.Detect, s.topics.Events); err != nil {
			return err
		}
		for p, w := range s.waits.take(before) {
			value, err := entity.Cut{Until: w.until}.Encode()
			if err != nil {
				return err
			}
			out.Append(s.topics.Facts, p, nil, value, stream.Header{Key: CutHeader})
			s.metrics.waited.Observe(time.Since(w.came).Seconds())
		}
		if err := out.Flush(ctx); err != nil {
			return fmt.Errorf("let facts be judged: %w", err)
		}
	}
	return nil
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// barrier waits for others, and remembers who stands still.
type barrier struct {
	*sharing
	stood map[stood]standing
}

type stood struct {
	topic     string
	partition int
}

type standing struct {
	far   int64
	since time.Time
	given bool // up
}

// pass waits until a group has processed all that a topic holds now. A partition that
// is behind and does not move for detect.stalled is not waited for, now and until it moves.
func (b *barrier) pass(ctx context.Context, group, topic string) error {
	ends, err := b.client.Offsets(ctx, topic)
	if err != nil {
		return err
	}
	for at, st := range b.stood {
		if at.topic == topic && !st.given {
			delete(b.stood, at) // it was looked at for an earlier end
		}
	}
	for wait := settleTick; ; wait = min(2*wait, settleSlow) {
		far, err := b.client.Progress(ctx, group, topic)
		if err != nil {
			return err
		}
		behind := false
		for p, end := range ends {
			if end.First < end.Next && p < len(far) && far[p] < end.Next && !b.stands(stood{topic, p}, far[p]) {
				behind = true
			}
		}
		if !behind {
			return nil
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// stands reports whether a partition has been at the same place for so long that
// it is given up.
func (b *barrier) stands(at stood, far int64) bool {
	st, ok := b.stood[at]
	if !ok || st.far != far {
		b.stood[at] = standing{far: far, since: time.Now()}
		return false
	}
	if !st.given && time.Since(st.since) >= b.cfg.Stalled {
		st.given = true
		b.stood[at] = st
		b.metrics.passed.Inc()
		b.log.Warn("a partition stands still; what agents share is judged without what it would tell", "topic", at.topic, "partition", strconv.Itoa(at.partition), "offset", far)
	}
	return st.given
}
