package command

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Layout says how the streams and buckets are kept.
type Layout struct {
	Replicas  int           // of every stream and bucket
	Retention time.Duration // of commands, answers, and the state of incidents and actions
	AckWait   time.Duration // after which a command that an executor took is handed to another one
	Kinds     []Kind        // that have executors
}

// storeAgain is after how long what store had taken and not stored comes to it
// again. Where it is only slow that is no harm, as it asks for more when it has
// stored what it has, and rows that come twice are one; where it died there is
// less to wait for.
const storeAgain = 10 * time.Second

// DefaultLayout is that of a single server.
func DefaultLayout() Layout {
	return Layout{Replicas: 1, Retention: 90 * 24 * time.Hour, AckWait: 30 * time.Second, Kinds: []Kind{Canary, Page, Notify, Ticket, Resolve, RiskChange, Signal, QuarantineMemory, RevokeToken}}
}

// Provision makes the streams, buckets and durable consumers that are missing
// and brings the others up to date. Triage does this, so that nobody else needs
// the right to: executors, store and enforcement points only bind to them.
//
// Neither stream lets anyone delete or purge: what was commanded stays on record.
func Provision(ctx context.Context, js jetstream.JetStream, l Layout) error {
	streams := []jetstream.StreamConfig{
		{Name: Actions, Subjects: []string{actionPrefix + ">", outcomePrefix + ">", casePrefix + ">"},
			Description: "commands to executors, what became of them, and incidents"},
		{Name: Acks, Subjects: []string{ackPrefix + ">", approvalPrefix + ">"},
			Description: "answers of executors, decisions of operators"},
	}
	for _, c := range streams {
		c.Storage, c.Replicas, c.MaxAge = jetstream.FileStorage, l.Replicas, l.Retention
		c.MaxMsgSize = MaxSize + 8<<10 // the headers
		c.Duplicates = 10 * time.Minute
		c.DenyDelete, c.DenyPurge = true, true
		c.AllowDirect = false // a read is answered by the leader, never by a follower that lags: triage relies on it
		if _, err := js.CreateOrUpdateStream(ctx, c); err != nil {
			return fmt.Errorf("make stream %s: %w", c.Name, err)
		}
	}
	buckets := []jetstream.KeyValueConfig{
		{Bucket: PostureBucket, Description: "current standing by agent", History: 1},
		{Bucket: IncidentBucket, Description: "findings that belong together", History: 1, TTL: l.Retention},
		{Bucket: ActionBucket, Description: "how far every action has come", History: 1, TTL: l.Retention},
		{Bucket: ExecutedBucket, Description: "actions that executors have begun", History: 1, TTL: l.Retention},
	}
	for _, c := range buckets {
		c.Storage, c.Replicas = jetstream.FileStorage, l.Replicas
		if _, err := js.CreateOrUpdateKeyValue(ctx, c); err != nil {
			return fmt.Errorf("make bucket %s: %w", c.Bucket, err)
		}
	}
	consumers := []struct {
		stream string
		config jetstream.ConsumerConfig
	}{
		{Acks, jetstream.ConsumerConfig{Durable: TriageConsumer}},
		{Actions, jetstream.ConsumerConfig{Durable: StoreConsumer, FilterSubject: outcomePrefix + ">"}},
		{Actions, jetstream.ConsumerConfig{Durable: CaseConsumer, FilterSubject: casePrefix + ">"}},
		{Actions, jetstream.ConsumerConfig{Durable: AuditConsumer}},
		{Acks, jetstream.ConsumerConfig{Durable: AuditConsumer}},
	}
	for _, k := range l.Kinds {
		consumers = append(consumers, struct {
			stream string
			config jetstream.ConsumerConfig
		}{Actions, jetstream.ConsumerConfig{Durable: ExecutorConsumer(k), FilterSubject: KindSubject(k)}})
	}
	for _, c := range consumers {
		c.config.AckPolicy, c.config.AckWait, c.config.MaxAckPending = jetstream.AckExplicitPolicy, l.AckWait, 1000
		switch c.config.Durable {
		case StoreConsumer, CaseConsumer, AuditConsumer:
			c.config.AckWait = min(l.AckWait, storeAgain)
		}
		if _, err := js.CreateOrUpdateConsumer(ctx, c.stream, c.config); err != nil {
			return fmt.Errorf("make consumer %s of %s: %w", c.config.Durable, c.stream, err)
		}
	}
	return nil
}
