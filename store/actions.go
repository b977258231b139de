package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/triage/command"
)

// actionRow is what became of an action so far.
type actionRow struct {
	command.Outcome
	ingested time.Time
	raw      string
}

// rank orders the statuses: an action in a later one is never shown in an earlier one again.
func rank(s command.Status) uint64 {
	switch s {
	case command.Shadowed, command.Waiting, command.Held:
		return 1
	case command.Commanded:
		return 2
	}
	return 3
}

// version orders the outcomes of one action: by rank, then by time in microseconds.
func (a *actionRow) version() uint64 {
	micros := uint64(max(0, int64(a.Time)/1000))
	return rank(a.Status)<<52 | micros&(1<<52-1)
}

func actionsTable() table[actionRow] {
	type r = actionRow
	return table[r]{"actions", []field[r]{
		col("id", func(a *r) string { return a.Action.ID }),
		col("incident", func(a *r) string { return a.Action.Incident }),
		col("kind", func(a *r) string { return string(a.Action.Kind) }),
		col("mode", func(a *r) string { return string(a.Action.Mode) }),
		col("step", func(a *r) uint16 { return uint16(a.Action.Step) }),
		col("agent", func(a *r) string { return a.Action.Target.Agent }),
		col("session", func(a *r) string { return a.Action.Target.Session }),
		col("user", func(a *r) string { return a.Action.Target.User }),
		col("credential", func(a *r) string { return a.Action.Target.Credential }),
		col("issuer", func(a *r) string { return a.Action.Target.Issuer }),
		col("subject", func(a *r) string { return a.Action.Target.Subject }),
		col("policy", func(a *r) string { return a.Action.Policy }),
		col("reason", func(a *r) string { return a.Action.Reason }),
		col("findings", func(a *r) []string { return a.Action.Findings }),
		col("occurred", func(a *r) *time.Time { return maybe(a.Action.Occurred) }),
		col("event_ingested", func(a *r) *time.Time { return maybe(a.Action.Ingested) }),
		col("found", func(a *r) *time.Time { return maybe(a.Action.Found) }),
		col("decided", func(a *r) *time.Time { return maybe(a.Action.Decided) }),
		col("expires", func(a *r) *time.Time { return maybe(a.Action.Expires) }),
		col("status", func(a *r) string { return string(a.Status) }),
		col("detail", func(a *r) string { return a.Detail }),
		col("executor", func(a *r) string { return a.Executor }),
		col("time", func(a *r) time.Time { return a.Time.Time() }),
		col("ingested", func(a *r) time.Time { return a.ingested }),
		col("version", func(a *r) uint64 { return a.version() }),
		col("raw", func(a *r) string { return a.raw }),
	}}
}

func historyTable() table[actionRow] {
	type r = actionRow
	return table[r]{"action_history", []field[r]{
		col("id", func(a *r) string { return a.Action.ID }),
		col("agent", func(a *r) string { return a.Action.Target.Agent }),
		col("kind", func(a *r) string { return string(a.Action.Kind) }),
		col("mode", func(a *r) string { return string(a.Action.Mode) }),
		col("status", func(a *r) string { return string(a.Status) }),
		col("detail", func(a *r) string { return a.Detail }),
		col("executor", func(a *r) string { return a.Executor }),
		col("occurred", func(a *r) *time.Time { return maybe(a.Action.Occurred) }),
		col("time", func(a *r) time.Time { return a.Time.Time() }),
		col("ingested", func(a *r) time.Time { return a.ingested }),
	}}
}

const (
	fetchMessages = 500             // at once
	fetchWait     = 2 * time.Second // for the first of them
	natsRetryWait = time.Second     // after an error of NATS
)

// RunActions stores what became of actions, from the durable consumer that
// triage provisioned, until ctx ends. A message is acknowledged only after
// ClickHouse has acknowledged its rows; one that triage did not sign is refused.
func (s *Store) RunActions(ctx context.Context, js jetstream.JetStream, keys command.Keyring) error {
	for ctx.Err() == nil {
		err := s.storeOutcomes(ctx, js, keys)
		if ctx.Err() != nil || errors.Is(err, errClosed) {
			break
		}
		s.log.Warn("actions not read", "err", err, "retry_in", natsRetryWait)
		select {
		case <-ctx.Done():
		case <-time.After(natsRetryWait):
		}
	}
	return nil
}

// storeOutcomes binds to the consumer and stores batch after batch until something fails.
func (s *Store) storeOutcomes(ctx context.Context, js jetstream.JetStream, keys command.Keyring) error {
	consumer, err := command.Bind(ctx, js, command.Actions, command.StoreConsumer, s.log)
	if err != nil {
		return err
	}
	for {
		msgs, fetchErr := fetch(ctx, consumer)
		if err := s.storeMessages(ctx, msgs, keys); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fetchErr != nil {
			return fmt.Errorf("fetch outcomes: %w", fetchErr)
		}
	}
}

// fetch waits for messages, but no longer than for a batch, nor than ctx.
func fetch(ctx context.Context, consumer jetstream.Consumer) (msgs []jetstream.Msg, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	batch, err := consumer.Fetch(fetchMessages, jetstream.FetchContext(ctx))
	if err != nil {
		return nil, err
	}
	for m := range batch.Messages() {
		msgs = append(msgs, m)
	}
	return msgs, batch.Error()
}

// storeMessages stores the outcomes in msgs and acknowledges them.
func (s *Store) storeMessages(ctx context.Context, msgs []jetstream.Msg, keys command.Keyring) error {
	rows := decodeOutcomes(s, msgs, keys)
	if len(rows) > 0 {
		if err := s.storeActions(ctx, msgs, rows); err != nil {
			return err
		}
	}
	for _, m := range msgs {
		if err := m.Ack(); err != nil {
			return fmt.Errorf("acknowledge %s: %w", m.Subject(), err)
		}
	}
	return nil
}

// storeActions waits until both tables have the rows. Meanwhile it keeps telling
// NATS that the messages are being worked on, so that an outage of ClickHouse
// does not have them delivered again and again.
func (s *Store) storeActions(ctx context.Context, msgs []jetstream.Msg, rows []item[actionRow]) error {
	stored := make(chan error, 1)
	go func() {
		stored <- func() error {
			history, err := s.history.add(ctx, rows)
			if err != nil {
				return err
			}
			latest, err := s.actions.add(ctx, rows)
			if err != nil {
				return err
			}
			return errors.Join(s.history.flush(ctx, history), s.actions.flush(ctx, latest))
		}()
	}()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-stored:
			return err
		case <-tick.C:
			for _, m := range msgs {
				if err := m.InProgress(); err != nil {
					s.log.Debug("progress not told", "subject", m.Subject(), "err", err)
				}
			}
		}
	}
}

// progressEvery is well below the time after which NATS delivers a message again.
const progressEvery = 10 * time.Second

// decodeOutcomes makes rows of messages, and refuses those that are none.
func decodeOutcomes[M message](s *Store, msgs []M, keys command.Keyring) (rows []item[actionRow]) {
	for _, m := range msgs {
		row, src, err := decodeOutcome(m, keys)
		if err != nil {
			s.refuse(Refused{Table: "actions", Topic: m.Subject(), Offset: src.offset, Err: err})
			continue
		}
		rows = append(rows, item[actionRow]{row, 2*len(m.Data()) + 512, src})
	}
	return rows
}

func decodeOutcome(m message, keys command.Keyring) (row actionRow, src position, err error) {
	src = position{topic: m.Subject()}
	meta, err := m.Metadata()
	if err != nil {
		return actionRow{}, src, fmt.Errorf("decode outcome: %w", err)
	}
	src.offset = int64(meta.Sequence.Stream)
	row.Outcome, err = command.ParseOutcome(keys, command.Message{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
	if err != nil {
		return actionRow{}, src, err
	}
	raw, err := json.Marshal(row.Outcome)
	if err != nil {
		return actionRow{}, src, fmt.Errorf("encode outcome: %w", err)
	}
	row.ingested, row.raw = meta.Timestamp, string(raw)
	return row, src, nil
}
