package triage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/triage/command"
)

// bus is what triage uses of NATS.
type bus struct {
	js        jetstream.JetStream
	signer    *command.Signer
	actions   jetstream.Stream
	incidents bucket // by agent and session, and marks of the findings seen
	records   bucket // of actions, timers and guards
	postures  bucket
	timeout   time.Duration
}

// A bucket is a bucket whose requests end in time even if the caller's context
// would let them wait longer for a server that has gone.
type bucket struct {
	jetstream.KeyValue
	timeout time.Duration
}

func openBus(ctx context.Context, js jetstream.JetStream, signer *command.Signer, timeout time.Duration) (*bus, error) {
	b := &bus{js: js, signer: signer, timeout: timeout}
	var err error
	if b.actions, err = js.Stream(ctx, command.Actions); err != nil {
		return nil, fmt.Errorf("stream %s: %w", command.Actions, err)
	}
	for name, bkt := range map[string]*bucket{
		command.IncidentBucket: &b.incidents, command.ActionBucket: &b.records, command.PostureBucket: &b.postures,
	} {
		kv, err := js.KeyValue(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("bucket %s: %w", name, err)
		}
		*bkt = bucket{kv, timeout}
	}
	return b, nil
}

// errConflict: somebody else changed the value meanwhile. The caller reads it again.
var errConflict = errors.New("changed by somebody else")

// load reads the value under key; revision 0 means there is none.
func load[T any](ctx context.Context, kv bucket, key string) (v T, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, kv.timeout)
	defer cancel()
	e, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return v, 0, nil
	}
	if err != nil {
		return v, 0, fmt.Errorf("read %s of %s: %w", key, kv.Bucket(), err)
	}
	if err := json.Unmarshal(e.Value(), &v); err != nil {
		return v, 0, fmt.Errorf("read %s of %s: %w", key, kv.Bucket(), err)
	}
	return v, e.Revision(), nil
}

// save writes the value under key if its revision is still the one that was
// loaded, and returns the new one; else errConflict.
func save[T any](ctx context.Context, kv bucket, key string, v T, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, kv.timeout)
	defer cancel()
	raw, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("write %s of %s: %w", key, kv.Bucket(), err)
	}
	if revision == 0 {
		revision, err = kv.Create(ctx, key, raw)
	} else {
		revision, err = kv.Update(ctx, key, raw, revision)
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyExists) || wrongSequence(err):
		return 0, errConflict
	case err != nil:
		return 0, fmt.Errorf("write %s of %s: %w", key, kv.Bucket(), err)
	}
	return revision, nil
}

// mark writes a value that is the same whoever writes it.
func mark(ctx context.Context, kv bucket, key string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, kv.timeout)
	defer cancel()
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s of %s: %w", key, kv.Bucket(), err)
	}
	if _, err := kv.Put(ctx, key, raw); err != nil {
		return fmt.Errorf("write %s of %s: %w", key, kv.Bucket(), err)
	}
	return nil
}

// publishAfter publishes m if last is still the last sequence of its subject.
// It returns the sequence at which m stands now, or 0 if another message took
// its place. If m itself stands there already, by an earlier try whose answer
// was lost or by somebody else's, that is as good.
func (b *bus) publishAfter(ctx context.Context, m *nats.Msg, last uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	ack, err := b.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(last))
	if err == nil {
		return ack.Sequence, nil
	}
	if !wrongSequence(err) {
		return 0, fmt.Errorf("publish on %s: %w", m.Subject, err)
	}
	next, err := b.actions.GetMsg(ctx, last+1, jetstream.WithGetMsgSubject(m.Subject))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound): // those up to last have aged out
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read %s after %d: %w", m.Subject, last, err)
	case next.Header.Get(nats.MsgIdHdr) != m.Header.Get(nats.MsgIdHdr):
		return 0, nil
	}
	return next.Sequence, nil
}

// last returns the last sequence of the subject, 0 if it has none.
func (b *bus) last(ctx context.Context, subject string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	m, err := b.actions.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the last of %s: %w", subject, err)
	}
	return m.Sequence, nil
}

// wrongSequence reports whether the server refused because something was written meanwhile.
func wrongSequence(err error) bool {
	var e *jetstream.APIError
	return errors.As(err, &e) && (e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
