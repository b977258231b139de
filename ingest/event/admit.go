package event

import "time"

// MaxAhead is how far an event may be ahead of the ingest clock before it is taken for a wrong clock.
const MaxAhead = 5 * time.Minute

// Admit holds the time of e against now, the ingest clock.
//
// A time more than [MaxAhead] ahead of now becomes now, and skew says how far
// ahead it was: else one wrong clock would keep a baseline in the future. A
// time before the year 2000 is an [*Error]. Any other past time is valid,
// because backfill of old logs is a normal use.
func (e *Event) Admit(now time.Time) (skew time.Duration, err error) {
	if e.Time < year2000 {
		return 0, &Error{Field: fTime.String(), Offset: -1, Reason: "is before the year 2000, want the time of the event"}
	}
	if skew = e.Time.Time().Sub(now); skew > MaxAhead {
		e.Time = At(now)
		return skew, nil
	}
	return 0, nil
}
