package ingest

import (
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// SetDecode replaces the decoder.
func (in *Ingest) SetDecode(f func(*event.Decoder, []byte, *event.Event) error) { in.decode = f }

// SetNow replaces the clock.
func (in *Ingest) SetNow(f func() time.Time) { in.now = f }

// Partition returns the processor of a partition that writes to out.
func (in *Ingest) Partition(out sink, owned stream.Owned) stream.Processor {
	return in.partition(out, owned)
}
