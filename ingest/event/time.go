package event

import "time"

// Timestamp is a time in Unix nanoseconds (years 1678 to 2262); zero is missing.
type Timestamp int64

// At returns the timestamp of t.
func At(t time.Time) Timestamp { return Timestamp(t.UnixNano()) }

// Time returns the same instant as a time.Time in UTC.
func (t Timestamp) Time() time.Time { return time.Unix(0, int64(t)).UTC() }

// String formats t as RFC 3339 with as many digits of a fraction as it needs.
func (t Timestamp) String() string { return t.Time().Format(time.RFC3339Nano) }

// Sub returns t minus u.
func (t Timestamp) Sub(u Timestamp) time.Duration { return time.Duration(t - u) }

// MarshalText writes RFC 3339; a missing time is empty.
func (t Timestamp) MarshalText() ([]byte, error) {
	if t == 0 {
		return nil, nil
	}
	return t.Time().AppendFormat(nil, time.RFC3339Nano), nil
}

// UnmarshalText reads what [Timestamp.MarshalText] writes.
func (t *Timestamp) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*t = 0
		return nil
	}
	v, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return err
	}
	*t = At(v)
	return nil
}
