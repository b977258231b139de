// Package stream is Kafka as ordered, owned partitions with checkpoints.
//
// One goroutine owns one partition: it fetches, hands the records over in
// order and checkpoints. There are no locks and no channels between the steps;
// backpressure is not fetching. The package knows nothing of what the records mean.
package stream

import (
	"context"
	"time"
)

// A Record is one record of a partition. Its byte slices are valid until the
// call that received it returns.
type Record struct {
	Topic     string
	Partition int
	Offset    int64
	Time      time.Time
	Key       []byte
	Value     []byte
	Headers   []Header
}

// A Header is a header of a record.
type Header struct {
	Key   string
	Value []byte
}

// A Processor is the work of one owned partition. One goroutine calls it.
type Processor interface {
	// Process takes the next records, in offset order. An error ends the
	// ownership: the partition is opened again from its last checkpoint.
	Process(ctx context.Context, batch []Record) error
	// Checkpoint makes everything processed so far durable. Only after it
	// returns nil is the group's offset committed.
	Checkpoint(ctx context.Context) error
}

// A Partial is a processor that need not make everything durable each time. What
// it leaves is processed again after a crash.
type Partial interface {
	Processor
	// CheckpointPart makes durable what is due, and returns the offset before
	// which everything is; next is the offset after all that was processed. The
	// group's offset is committed accordingly. It stands in for Checkpoint while
	// records keep coming; without any, and in the end, there is a Checkpoint.
	CheckpointPart(ctx context.Context, next int64) (durable int64, err error)
}

// An Owned is a partition at the moment of its assignment.
type Owned struct {
	Topic      string
	Partition  int
	Next       int64 // offset that is processed next: the committed one, or the first there is
	Generation int32 // of the consumer group: later owners have higher ones
}

// An Opener makes the processor of a partition that was just assigned.
type Opener func(ctx context.Context, p Owned) (Processor, error)

// A Group is a consumer group and what it reads. Its members share the
// partitions of its topics, each partition with one owner.
type Group struct {
	Name   string
	Topics []string

	// Progress has the members note how far they have processed, a few times a
	// second, for [Client.Progress]: what they were given is then with Kafka before
	// Process returns.
	Progress bool
}

// A Topic is a topic as it should be. Partitions and settings apply when it is
// made; a topic that is there stays as it is.
type Topic struct {
	Name       string
	Partitions int
	Settings   map[string]string // such as "cleanup.policy": "compact"
}

// A Range is what a partition holds: the offset of its first record and the
// offset the next record gets. Equal means empty.
type Range struct {
	First, Next int64
}
