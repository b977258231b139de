package store

import (
	driver "github.com/ClickHouse/clickhouse-go/v2/lib/column"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// members is an object of an event as the value of a Map column.
type members[T any] event.Object[T]

// Put is there for the driver's interface, which writes no map that it cannot read, too.
func (m members[T]) Put(key, value any) { panic("store: a map column is written only") }

// Iterator implements [driver.IterableOrderedMap].
func (m members[T]) Iterator() driver.MapIterator { return &memberIterator[T]{m: m, i: -1} }

type memberIterator[T any] struct {
	m members[T]
	i int
}

func (it *memberIterator[T]) Next() bool { it.i++; return it.i < len(it.m) }
func (it *memberIterator[T]) Key() any   { return it.m[it.i].Key }

// Value gives the driver strings as such: it does not know our kinds of them.
func (it *memberIterator[T]) Value() any {
	switch v := any(it.m[it.i].Value).(type) {
	case event.Origin:
		return string(v)
	default:
		return v
	}
}
