package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// table says how rows of type T become columns.
type table[T any] struct {
	name    string
	columns []field[T]
}

// field is one column of a table: values makes the column of the rows.
type field[T any] struct {
	name   string
	values func(rows []item[T]) any
}

// col is the column that holds f of every row.
func col[T, V any](name string, f func(*T) V) field[T] {
	return field[T]{name, func(rows []item[T]) any {
		values := make([]V, len(rows))
		for i := range rows {
			values[i] = f(&rows[i].row)
		}
		return values
	}}
}

// item is a row on its way, with where it came from.
type item[T any] struct {
	row  T
	size int // bytes, roughly
	src  position
}

// position is where a record stands in its log.
type position struct {
	topic     string
	partition int
	offset    int64
}

// statement is the INSERT that a batch begins with.
func (t table[T]) statement() string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return "INSERT INTO " + t.name + " (" + strings.Join(names, ", ") + ")"
}

// insert sends rows as one batch and returns when they are acknowledged.
func (t table[T]) insert(ctx context.Context, conn driver.Conn, rows []item[T]) (err error) {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"async_insert":                    0, // an acknowledgement means stored
		"max_partitions_per_insert_block": 0, // after a long outage a batch may span many days
	}))
	batch, err := conn.PrepareBatch(ctx, t.statement())
	if err != nil {
		return err
	}
	for i, c := range t.columns {
		if err := batch.Column(i).Append(c.values(rows)); err != nil {
			return errors.Join(fmt.Errorf("column %s.%s: %w", t.name, c.name, err), batch.Abort())
		}
	}
	return batch.Send()
}

// permanent tells whether err is about the rows themselves, so that sending them
// again cannot help. All else is no reason to lose a row: a missing table, a column
// of another type or a refused password can be put right.
func permanent(err error) bool {
	var ex *clickhouse.Exception
	if !errors.As(err, &ex) {
		return false
	}
	switch ex.Code {
	case 69, // ARGUMENT_OUT_OF_BOUND
		117, // INCORRECT_DATA
		128, // TOO_LARGE_ARRAY_SIZE
		131, // TOO_LARGE_STRING_SIZE
		321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
		349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
		407, // DECIMAL_OVERFLOW
		469: // VIOLATED_CONSTRAINT
		return true
	}
	return false
}
