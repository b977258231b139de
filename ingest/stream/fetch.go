package stream

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/segmentio/kafka-go/protocol"
	_ "github.com/segmentio/kafka-go/protocol/fetch" // registers its own messages, which ours then replace
)

// maxFetchBytes bounds one fetched record set. A broker that announces more is
// not believed.
const maxFetchBytes = 256 << 20

// The types below are kafka-go's Fetch messages with one difference: the record
// set stays as raw bytes. Registering them replaces kafka-go's for the whole
// process, so its Client.Fetch must not be used beside this package.
func init() { protocol.Register(&fetchRequest{}, &fetchResponse{}) }

type fetchRequest struct {
	ReplicaID       int32            `kafka:"min=v0,max=v11"`
	MaxWaitTime     int32            `kafka:"min=v0,max=v11"`
	MinBytes        int32            `kafka:"min=v0,max=v11"`
	MaxBytes        int32            `kafka:"min=v3,max=v11"`
	IsolationLevel  int8             `kafka:"min=v4,max=v11"`
	SessionID       int32            `kafka:"min=v7,max=v11"`
	SessionEpoch    int32            `kafka:"min=v7,max=v11"`
	Topics          []fetchTopic     `kafka:"min=v0,max=v11"`
	ForgottenTopics []fetchForgotten `kafka:"min=v7,max=v11"`
	RackID          string           `kafka:"min=v11,max=v11"`
}

type fetchTopic struct {
	Topic      string           `kafka:"min=v0,max=v11"`
	Partitions []fetchPartition `kafka:"min=v0,max=v11"`
}

type fetchPartition struct {
	Partition          int32 `kafka:"min=v0,max=v11"`
	CurrentLeaderEpoch int32 `kafka:"min=v9,max=v11"`
	FetchOffset        int64 `kafka:"min=v0,max=v11"`
	LogStartOffset     int64 `kafka:"min=v5,max=v11"`
	PartitionMaxBytes  int32 `kafka:"min=v0,max=v11"`
}

type fetchForgotten struct {
	Topic      string  `kafka:"min=v7,max=v11"`
	Partitions []int32 `kafka:"min=v7,max=v11"`
}

func (*fetchRequest) ApiKey() protocol.ApiKey { return protocol.Fetch }

// Broker routes the request to the leader of its one partition.
func (r *fetchRequest) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	return leader(cluster, r.Topics[0].Topic, r.Topics[0].Partitions[0].Partition)
}

func leader(cluster protocol.Cluster, topic string, partition int32) (protocol.Broker, error) {
	t, ok := cluster.Topics[topic]
	if !ok {
		return protocol.Broker{ID: -1}, protocol.NewErrNoTopic(topic)
	}
	p, ok := t.Partitions[partition]
	if !ok {
		return protocol.Broker{ID: -1}, protocol.NewErrNoPartition(topic, partition)
	}
	b, ok := cluster.Brokers[p.Leader]
	if !ok {
		return protocol.Broker{ID: -1}, protocol.NewErrNoLeader(topic, partition)
	}
	return b, nil
}

type fetchResponse struct {
	ThrottleTimeMs int32          `kafka:"min=v1,max=v11"`
	ErrorCode      int16          `kafka:"min=v7,max=v11"`
	SessionID      int32          `kafka:"min=v7,max=v11"`
	Topics         []fetchedTopic `kafka:"min=v0,max=v11"`
}

type fetchedTopic struct {
	Topic      string             `kafka:"min=v0,max=v11"`
	Partitions []fetchedPartition `kafka:"min=v0,max=v11"`
}

type fetchedPartition struct {
	Partition            int32        `kafka:"min=v0,max=v11"`
	ErrorCode            int16        `kafka:"min=v0,max=v11"`
	HighWatermark        int64        `kafka:"min=v0,max=v11"`
	LastStableOffset     int64        `kafka:"min=v4,max=v11"`
	LogStartOffset       int64        `kafka:"min=v5,max=v11"`
	AbortedTransactions  []abortedTxn `kafka:"min=v4,max=v11"`
	PreferredReadReplica int32        `kafka:"min=v11,max=v11"`
	RecordSet            recordSet    `kafka:"min=v0,max=v11"`
}

type abortedTxn struct {
	ProducerID  int64 `kafka:"min=v4,max=v11"`
	FirstOffset int64 `kafka:"min=v4,max=v11"`
}

func (*fetchResponse) ApiKey() protocol.ApiKey { return protocol.Fetch }

// A recordSet is a fetched record set as it came, in a pooled buffer.
type recordSet struct{ b []byte }

// recordSets holds buffers between fetches. It is shared by all clients
// because kafka-go makes the values that take from it.
var recordSets sync.Pool

// firstBuffer is what a new buffer holds before anything has arrived: a length
// is a claim until the bytes are there.
const firstBuffer = 4 << 20

// ReadFrom takes the record set out of a response.
func (s *recordSet) ReadFrom(r io.Reader) (int64, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	n := int(int32(binary.BigEndian.Uint32(head[:])))
	if n <= 0 {
		return 4, nil
	}
	if n > maxFetchBytes {
		return 4, fmt.Errorf("record set of %d bytes, want at most %d", n, maxFetchBytes)
	}
	b := recordSetBuffer(min(n, firstBuffer))
	for {
		m, err := io.ReadFull(r, b[len(b):min(n, cap(b))])
		b = b[:len(b)+m]
		if err != nil {
			return int64(4 + len(b)), err
		}
		if len(b) == n {
			s.b = b
			return int64(4 + n), nil
		}
		grown := make([]byte, len(b), min(n, 2*cap(b)))
		copy(grown, b)
		b = grown
	}
}

func recordSetBuffer(n int) []byte {
	if p, ok := recordSets.Get().(*[]byte); ok && cap(*p) >= n {
		return (*p)[:0]
	}
	size := 64 << 10
	for size < n {
		size <<= 1
	}
	return make([]byte, 0, size)
}

// release gives the buffer back. No record decoded from it may be used afterwards.
func (s *recordSet) release() {
	if s.b == nil {
		return
	}
	b := s.b[:0]
	s.b = nil
	recordSets.Put(&b)
}
