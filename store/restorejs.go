package store

import (
	"cmp"
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
			break
		}
		if err := store(batch); err != nil {
			return nil, err
		}
	}
	info, err := st.Info(ctx) // by now: what was deleted meanwhile was perhaps not read
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	if info.State.FirstSeq > 1 {
		return none, nil
	}
	return every, nil
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

const (
	auditHashes = `SELECT seq, hash FROM audit WHERE stream = {stream:String} AND seq BETWEEN {low:UInt64} AND {high:UInt64}`
	auditGaps   = `SELECT countIf(rows != high - low + 1) FROM (SELECT uniqExact(seq) AS rows, min(seq) AS low, max(seq) AS high FROM audit GROUP BY stream)`
)

// restoreAudit puts rows back into the audit log that are missing between others, or
// at an end. A row follows from the message and the row before, so it is the same as
// the one that was lost; where that is not there, the log begins anew, and whoever
// verifies it is told.
func (s *Store) restoreAudit(ctx context.Context, o Origins) (rows int, whole func(part) bool, err error) {
	whole = every
	for _, stream := range []string{command.Actions, command.Acks} {
		_, err := restoreStream(ctx, o.JetStream, stream, ">", func(msgs []kept) error {
			n, anew, err := s.rechain(ctx, stream, msgs)
			rows += n
			if anew {
				whole = none
			}
			return err
		})
		if err != nil {
			return 0, nil, err
		}
	}
	var gaps uint64
	if err := s.conn.QueryRow(ctx, auditGaps).Scan(&gaps); err != nil {
		return 0, nil, fmt.Errorf("look for gaps in the audit log: %w", err)
	}
	if gaps > 0 {
		whole = none
	}
	return rows, whole, nil
}

// rechain writes those of a stream's messages to the audit log that are not in it. It
// tells how many, and whether the log begins anew with one that is not the first.
func (s *Store) rechain(ctx context.Context, stream string, msgs []kept) (rows int, anew bool, err error) {
	all, err := auditRows(stream, msgs)
	if err != nil {
		return 0, false, err
	}
	found, err := s.conn.Query(ctx, auditHashes, arg("stream", stream), arg("low", fmt.Sprint(all[0].Seq-1)), arg("high", fmt.Sprint(all[len(all)-1].Seq)))
	if err != nil {
		return 0, false, fmt.Errorf("read the audit log: %w", err)
	}
	hashes := map[uint64]string{}
	err = each(found, func() error {
		var seq uint64
		var hash string
		err := found.Scan(&seq, &hash)
		hashes[seq] = hash
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("read the audit log: %w", err)
	}
	var items []item[AuditRow]
	for _, r := range all {
		if hashes[r.Seq] != "" {
			continue
		}
		r.Prev = cmp.Or(hashes[r.Seq-1], start(stream))
		anew = anew || r.Seq > 1 && r.Prev == start(stream)
		r.Hash = r.sum()
		hashes[r.Seq] = r.Hash
		items = append(items, item[AuditRow]{r, len(r.Payload), position{r.Subject, 0, int64(r.Seq)}})
	}
	if len(items) == 0 {
		return 0, false, nil
	}
	return len(items), anew, auditTable().insert(ctx, s.conn, items)
}
