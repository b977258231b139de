package stream

import (
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"github.com/segmentio/kafka-go/protocol/produce"
)

// The types below are kafka-go's Produce and InitProducerId requests with the
// batches ready made, spread over the leaders of their partitions, and without
// the detour over a transaction coordinator. kafka-go decodes their answers.
const (
	produceKey protocol.OverrideTypeKey = 0x5354 + iota // not used by kafka-go
	initKey
)

func init() {
	protocol.RegisterOverride(&produceRequest{}, &produce.Response{}, produceKey)
	protocol.RegisterOverride(&initRequest{}, &initproducerid.Response{}, initKey)
}

type initRequest struct {
	_ struct{} `kafka:"min=v2,max=v4,tag"`

	TransactionalID      string `kafka:"min=v0,max=v4,nullable"`
	TransactionTimeoutMs int32  `kafka:"min=v0,max=v4"`
	ProducerID           int64  `kafka:"min=v3,max=v4"`
	ProducerEpoch        int16  `kafka:"min=v3,max=v4"`
}

func (*initRequest) ApiKey() protocol.ApiKey           { return protocol.InitProducerId }
func (*initRequest) TypeKey() protocol.OverrideTypeKey { return initKey }

type produceRequest struct {
	TransactionalID string         `kafka:"min=v3,max=v8,nullable"`
	Acks            int16          `kafka:"min=v0,max=v8"`
	Timeout         int32          `kafka:"min=v0,max=v8"`
	Topics          []produceTopic `kafka:"min=v0,max=v8"`
}

type produceTopic struct {
	Topic      string             `kafka:"min=v0,max=v8"`
	Partitions []producePartition `kafka:"min=v0,max=v8"`
}

type producePartition struct {
	Partition int32     `kafka:"min=v0,max=v8"`
	RecordSet wireBatch `kafka:"min=v0,max=v8"`
}

// wireBatch is a batch inside a request.
type wireBatch struct{ b []byte }

// WriteTo writes the batch behind its length.
func (w *wireBatch) WriteTo(to io.Writer) (int64, error) {
	n, err := to.Write(w.b)
	return int64(n), err
}

func (*produceRequest) ApiKey() protocol.ApiKey           { return protocol.Produce }
func (*produceRequest) TypeKey() protocol.OverrideTypeKey { return produceKey }

// add puts one batch into the request.
func (r *produceRequest) add(topic string, partition int32, wire []byte) {
	p := producePartition{Partition: partition, RecordSet: wireBatch{wire}}
	for i := range r.Topics {
		if r.Topics[i].Topic == topic {
			r.Topics[i].Partitions = append(r.Topics[i].Partitions, p)
			return
		}
	}
	r.Topics = append(r.Topics, produceTopic{Topic: topic, Partitions: []producePartition{p}})
}

// Broker routes a request that Split made.
func (r *produceRequest) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	return leader(cluster, r.Topics[0].Topic, r.Topics[0].Partitions[0].Partition)
}

// Split makes one request per leader; they are sent at the same time.
func (r *produceRequest) Split(cluster protocol.Cluster) ([]protocol.Message, protocol.Merger, error) {
	var (
		messages []protocol.Message
		byLeader = map[int32]*produceRequest{}
		outcome  = &produceOutcome{}
	)
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			b, err := leader(cluster, t.Topic, p.Partition)
			if err != nil {
				outcome.set(t.Topic, p.Partition, produceResult{err: err})
				continue
			}
			part, ok := byLeader[b.ID]
			if !ok {
				part = &produceRequest{Acks: r.Acks, Timeout: r.Timeout}
				byLeader[b.ID] = part
				messages = append(messages, part)
			}
			part.add(t.Topic, p.Partition, p.RecordSet.b)
		}
	}
	return messages, outcome, nil
}

// A produceOutcome is what became of each partition's batch, over all leaders.
type produceOutcome struct {
	results  map[produceTarget]produceResult
	answered bool // by one broker at least
}

type produceTarget struct {
	topic     string
	partition int32
}

type produceResult struct {
	err  error
	sent bool // the broker may have it although there is an error
}

func (*produceOutcome) ApiKey() protocol.ApiKey { return protocol.Produce }

func (o *produceOutcome) set(topic string, partition int32, r produceResult) {
	if o.results == nil {
		o.results = map[produceTarget]produceResult{}
	}
	o.results[produceTarget{topic, partition}] = r
}

// Merge collects the answers. What a broker left out counts as unanswered.
func (o *produceOutcome) Merge(requests []protocol.Message, results []any) (protocol.Message, error) {
	for i, m := range requests {
		req, ok := m.(*produceRequest)
		if !ok {
			return nil, fmt.Errorf("produce: merging a %T", m)
		}
		answer, err := protocol.Result(results[i])
		if err == nil {
			err = errors.New("answer lacks the partition")
		}
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				o.set(t.Topic, p.Partition, produceResult{err: err, sent: true})
			}
		}
		res, ok := answer.(*produce.Response)
		if !ok {
			continue
		}
		o.answered = true
		for _, t := range res.Topics {
			for _, p := range t.Partitions {
				r := produceResult{err: codeError(p.ErrorCode)}
				if r.err != nil && p.ErrorMessage != "" {
					r.err = fmt.Errorf("%w: %s", r.err, p.ErrorMessage)
				}
				o.set(t.Topic, p.Partition, r)
			}
		}
	}
	return o, nil
}
