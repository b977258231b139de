package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/triage/command"
)

// message is what is read of a message of a stream: as it is delivered, or as it is kept.
type message interface {
	Metadata() (*jetstream.MsgMetadata, error)
	Data() []byte
	Headers() nats.Header
	Subject() string
}

// kept is a message as its stream keeps it.
type kept struct {
	stream string
	raw    *jetstream.RawStreamMsg
}

func (k kept) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Stream: k.stream, Timestamp: k.raw.Time, Sequence: jetstream.SequencePair{Stream: k.raw.Sequence}}, nil
}
func (k kept) Data() []byte         { return k.raw.Data }
func (k kept) Headers() nats.Header { return k.raw.Header }
func (k kept) Subject() string      { return k.raw.Subject }

// restoreStream hands all messages of a stream on a subject to store, in their
// order, with those that come meanwhile. It tells whether the stream keeps all that
// it ever had.
func restoreStream(ctx context.Context, js jetstream.JetStream, name, subject string, store func([]kept) error) (whole func(part) bool, err error) {
	st, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	info, err := st.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	whole = every
	if info.State.FirstSeq > 1 {
		whole = none
	}
	for seq := uint64(1); ; {
		var batch []kept
		for len(batch) < fetchMessages {
			m, err := st.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("read %s at %d: %w", name, seq, err)
			}
			batch = append(batch, kept{name, m})
			seq = m.Sequence + 1
		}
		if len(batch) == 0 {
			return whole, nil
		}
		if err := store(batch); err != nil {
			return nil, err
		}
	}
}

// restoreActions stores all outcomes again that their stream keeps.
func (s *Store) restoreActions(ctx context.Context, o Origins) (rows int, whole func(part) bool, err error) {
	whole, err = restoreStream(ctx, o.JetStream, command.Actions, command.OutcomeSubject(">"), func(msgs []kept) error {
		items := decodeOutcomes(s, msgs, o.Keys)
		if len(items) == 0 {
			return nil
		}
		rows += len(items)
		return errors.Join(historyTable().insert(ctx, s.conn, items), actionsTable().insert(ctx, s.conn, items))
	})
	return rows, whole, err
}

// restoreCases stores all that their stream keeps of incidents again.
func (s *Store) restoreCases(ctx context.Context, o Origins) (rows int, whole func(part) bool, err error) {
	whole, err = restoreStream(ctx, o.JetStream, command.Actions, command.CaseSubject(">"), func(msgs []kept) error {
		rows += len(msgs)
		return storeCases(ctx, s, msgs, o.Keys)
	})
	return rows, whole, err
}
