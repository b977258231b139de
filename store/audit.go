package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/triage/command"
)

// An AuditRow is one message of a stream of commands or answers, chained to the
// one before it. The chain follows from the stream alone: two processes that
// write it at once write the same rows.
type AuditRow struct {
	Stream    string
	Seq       uint64
	Time      time.Time
	Subject   string
	Signer    string
	Signature string
	Payload   string
	Prev      string
	Hash      string
}

// sum is the hash of the row: of everything in it but the hash, each part behind its length.
func (r *AuditRow) sum() string {
	h := sha256.New()
	var n [8]byte
	write := func(part string) {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	for _, part := range []string{"stakeout audit v1", r.Stream, strconv.FormatUint(r.Seq, 10), strconv.FormatInt(r.Time.UnixNano(), 10),
		r.Subject, r.Signer, r.Signature, r.Payload, r.Prev} {
		write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// start is what the first row of a chain follows.
func start(stream string) string { return "begin " + stream }

func auditTable() table[AuditRow] {
	type r = AuditRow
	return table[r]{"audit", []field[r]{
		col("stream", func(a *r) string { return a.Stream }),
		col("seq", func(a *r) uint64 { return a.Seq }),
		col("time", func(a *r) time.Time { return a.Time }),
		col("subject", func(a *r) string { return a.Subject }),
		col("signer", func(a *r) string { return a.Signer }),
		col("signature", func(a *r) string { return a.Signature }),
		col("payload", func(a *r) string { return a.Payload }),
		col("prev", func(a *r) string { return a.Prev }),
		col("hash", func(a *r) string { return a.Hash }),
	}}
}

// RunAudit keeps the audit log of a stream until ctx ends.
func (s *Store) RunAudit(ctx context.Context, js jetstream.JetStream, stream string) error {
	return s.follow(ctx, js, stream, command.AuditConsumer, func(ctx context.Context, msgs []jetstream.Msg) error {
		rows, err := auditRows(stream, msgs)
		if err != nil {
			return err
		}
		return s.chain(ctx, stream, rows)
	})
}

// auditRows makes rows of messages; they are not chained yet.
func auditRows[M message](stream string, msgs []M) ([]AuditRow, error) {
	rows := make([]AuditRow, len(msgs))
	for i, m := range msgs {
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("audit %s: %w", stream, err)
		}
		h := m.Headers()
		rows[i] = AuditRow{Stream: stream, Seq: meta.Sequence.Stream, Time: meta.Timestamp.UTC(), Subject: m.Subject(),
			Signer: h.Get(command.KeyHeader), Signature: h.Get(command.SignatureHeader), Payload: string(bytes.ToValidUTF8(m.Data(), []byte("?")))}
	}
	return rows, nil
}

const lastAuditQuery = `SELECT seq, hash FROM audit WHERE stream = {stream:String} ORDER BY seq DESC, hash LIMIT 1`

// chain appends the rows that are not in the log yet. A row whose predecessor is
// missing waits: whoever has that one writes it first.
func (s *Store) chain(ctx context.Context, stream string, rows []AuditRow) error {
	var seq uint64
	prev := start(stream)
	last, err := s.conn.Query(ctx, lastAuditQuery, arg("stream", stream))
	if err == nil {
		err = each(last, func() error { return last.Scan(&seq, &prev) })
	}
	if err != nil {
		return fmt.Errorf("audit %s: read the last row: %w", stream, err)
	}
	slices.SortFunc(rows, func(a, b AuditRow) int { return cmp.Compare(a.Seq, b.Seq) })
	if seq == 0 && len(rows) > 0 && rows[0].Seq > 1 {
		if err := s.beginsAnew(ctx, stream); err != nil {
			return err
		}
	}
	var items []item[AuditRow]
	for _, r := range rows {
		if r.Seq <= seq {
			continue // stored before
		}
		if seq != 0 && r.Seq != seq+1 {
			return fmt.Errorf("audit %s: row %d came before row %d", stream, r.Seq, seq+1)
		}
		r.Prev = prev
		r.Hash = r.sum()
		seq, prev = r.Seq, r.Hash
		items = append(items, item[AuditRow]{r, len(r.Payload), position{r.Subject, 0, int64(r.Seq)}})
	}
	if len(items) == 0 {
		return nil
	}
	return auditTable().insert(ctx, s.conn, items)
}

// beginsAnew refuses to begin a log behind its first row while rows are set aside,
// which may be those before: they are stored again, and this one is to follow them.
func (s *Store) beginsAnew(ctx context.Context, stream string) error {
	parts, err := s.aside(ctx)
	if err != nil {
		return fmt.Errorf("audit %s: %w", stream, err)
	}
	if slices.ContainsFunc(parts, func(p part) bool { return p.table == auditTable().name }) {
		return fmt.Errorf("audit %s: the log is empty, and parts of it are set aside: waiting for their rows", stream)
	}
	return nil
}

// Audited is what became of the verification of one stream's log.
type Audited struct {
	Stream   string   `json:"stream"`
	Rows     uint64   `json:"rows"`
	First    uint64   `json:"first"` // sequence
	Last     uint64   `json:"last"`
	Head     string   `json:"head"` // hash of the last row: keep it elsewhere, and it proves the log later
	Problems []string `json:"problems"`
}

// ErrAudit says that an audit log does not hold.
var ErrAudit = errors.New("the audit log does not hold")

const (
	auditQuery = `SELECT stream, seq, toUnixTimestamp64Nano(time), subject, signer, signature, payload, prev, hash
FROM audit WHERE stream = {stream:String} ORDER BY seq, hash`
	maxProblems = 100
)

// Audit verifies the log of a stream, row by row: that none was altered, removed
// or put elsewhere, and that triage signed what it is said to have said. Ends are
// rows noted before, by sequence, with their hashes.
func (s *Store) Audit(ctx context.Context, stream string, keys command.Keyring, ends map[uint64]string) (Audited, error) {
	a := Audited{Stream: stream, Problems: []string{}, Head: start(stream)}
	bad := func(format string, args ...any) {
		if len(a.Problems) < maxProblems {
			a.Problems = append(a.Problems, fmt.Sprintf(format, args...))
		}
	}
	rows, err := s.conn.Query(ctx, auditQuery, arg("stream", stream))
	if err != nil {
		return a, fmt.Errorf("query audit: %w", err)
	}
	found := map[uint64]string{}
	var previous AuditRow
	err = each(rows, func() error {
		var r AuditRow
		var nanos int64
		if err := rows.Scan(&r.Stream, &r.Seq, &nanos, &r.Subject, &r.Signer, &r.Signature, &r.Payload, &r.Prev, &r.Hash); err != nil {
			return err
		}
		r.Time = time.Unix(0, nanos)
		if r.Seq == previous.Seq && r.Hash == previous.Hash && r.sum() == r.Hash {
			return nil // written by two processes at once, or again
		}
		a.verify(&r, &previous, bad)
		if stream == command.Actions {
			verifySignature(keys, &r, bad)
		}
		a.Rows++
		if a.First == 0 {
			a.First = r.Seq
		}
		a.Last, a.Head, previous = r.Seq, r.Hash, r
		if _, wanted := ends[r.Seq]; wanted {
			found[r.Seq] = r.Hash
		}
		return nil
	})
	if err != nil {
		return a, fmt.Errorf("query audit: %w", err)
	}
	for seq, hash := range ends {
		if found[seq] != hash {
			bad("row %d: has hash %.16q, but %.16q was noted before", seq, found[seq], hash)
		}
	}
	if len(a.Problems) > 0 {
		return a, fmt.Errorf("%w: %d problems in %s", ErrAudit, len(a.Problems), stream)
	}
	return a, nil
}

// verify holds a row against itself and against the one before it.
func (a *Audited) verify(r, previous *AuditRow, bad func(string, ...any)) {
	if got := r.sum(); got != r.Hash {
		bad("row %d: was altered: it does not have the hash it bears", r.Seq)
	}
	switch {
	case previous.Seq == 0 && r.Prev != start(r.Stream):
		bad("row %d: is the first, but follows another: rows before it were removed", r.Seq)
	case previous.Seq == 0:
	case r.Seq == previous.Seq:
		bad("row %d: stands twice, with different content", r.Seq)
	case r.Seq != previous.Seq+1:
		bad("rows %d to %d: were removed", previous.Seq+1, r.Seq-1)
	case r.Prev != previous.Hash:
		bad("row %d: does not follow row %d as it stands", r.Seq, previous.Seq)
	}
}

// verifySignature holds a row against the key that is said to have signed it. The
// payload of a message is text, so it stands in the log as it was signed.
func verifySignature(keys command.Keyring, r *AuditRow, bad func(string, ...any)) {
	if len(keys.Triage) == 0 {
		return
	}
	if err := command.Verify(keys, command.Triage, r.Subject, r.Signer, r.Signature, []byte(r.Payload)); err != nil {
		bad("row %d: %v", r.Seq, err)
	}
}
