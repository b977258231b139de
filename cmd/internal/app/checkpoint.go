package app

import (
	"context"
	"fmt"
	"math"
	"time"
)

// maxUnsent bounds the bytes of profiles that wait to be acknowledged.
const maxUnsent = 2 << 20

// A mark is how far a partition was at a time.
type mark struct {
	at   time.Time
	next int64
}

// Checkpoint implements [stream.Processor]: the findings are out already, now
// the profiles that changed, each with the offset it has applied. An agent that
// was forgotten leaves a tombstone.
func (w *watch) Checkpoint(ctx context.Context) error {
	w.marks = w.marks[:0]
	return w.write(ctx, math.MaxInt64)
}

// CheckpointPart implements [stream.Partial]: it writes the profiles whose changes
// have waited for long. A profile costs as much to write as an event to judge, and
// one that is busy is out of date at once; so it is written once in a while, and
// after a crash the events since then are judged again, which nobody notices.
func (w *watch) CheckpointPart(ctx context.Context, next int64) (durable int64, err error) {
	if err := w.write(ctx, w.due(next, time.Now())); err != nil {
		return 0, err
	}
	_, first := w.engine.Unwritten()
	return min(first, next), nil
}

// due returns the offset before which changes are to be written.
func (w *watch) due(next int64, now time.Time) int64 {
	if n, _ := w.engine.Unwritten(); n <= w.cfg.CheckpointProfiles {
		w.marks = w.marks[:0]
		return next
	}
	records := w.cfg.ReplayRecords
	if w.engine.Agents()+w.step > w.cfg.MaxAgents {
		// Some may be forgotten before the next checkpoint. A replay forgets the
		// same ones if it is shorter than it takes to forget who was just there.
		records = min(records, max(0, w.cfg.MaxAgents-w.step))
	}
	before := next - int64(records)
	w.marks = append(w.marks, mark{now, next})
	for now.Sub(w.marks[0].at) >= w.cfg.ReplayAge {
		before = max(before, w.marks[0].next)
		if w.marks = w.marks[1:]; len(w.marks) == 0 {
			break
		}
	}
	return before
}

// write makes durable the profiles with changes before an offset.
func (w *watch) write(ctx context.Context, before int64) error {
	for agent, profile := range w.engine.ChangedBefore(before) {
		w.changelog.Append(w.topics.Profiles, w.partition, []byte(agent), profile)
		if w.changelog.Buffered() < maxUnsent {
			continue
		}
		if err := w.changelog.Flush(ctx); err != nil {
			return fmt.Errorf("send profiles: %w", err)
		}
	}
	if err := w.changelog.Flush(ctx); err != nil {
		return fmt.Errorf("send profiles: %w", err)
	}
	return nil
}
