package detect

import (
	"math"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// An instant is a time in a profile, in seconds since 1970, which end in the year
// 2106; 0 stands for none.
type instant uint32

func instantOf(t event.Timestamp) instant {
	return instant(min(max(int64(t)/int64(time.Second), 1), math.MaxUint32))
}

func (i instant) stamp() event.Timestamp { return event.Timestamp(i) * event.Timestamp(time.Second) }

// Time returns the instant as a time of day.
func (i instant) Time() time.Time { return i.stamp().Time() }

// Sub is the time from j to i.
func (i instant) Sub(j instant) time.Duration {
	return (time.Duration(i) - time.Duration(j)) * time.Second
}
