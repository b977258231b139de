package store

import (
	"errors"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// scanner is what [each] needs of a result.
type scanner interface {
	Next() bool
	Err() error
	Close() error
}

// each calls f for every row of a result and closes it.
func each(rows scanner, f func() error) error {
	for rows.Next() {
		if err := f(); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// number is a value of a Nullable column.
func number[T int64 | float64](v event.Opt[T]) *T {
	if !v.OK {
		return nil
	}
	return &v.V
}

// maybe is a time in a Nullable column.
func maybe(t event.Timestamp) *time.Time {
	if t == 0 {
		return nil
	}
	v := t.Time()
	return &v
}

// known is a time in a column that is not Nullable: one that is missing is 1970.
func known(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t
}

// texts is a list of any kind of string.
func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}
