package triage

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/triage/command"
)

// follow hands on every value under a prefix of keys, by what follows the prefix, and
// that one is gone or cannot be read, until ctx ends. It calls begun when all that there
// were are known.
func follow[T any](ctx context.Context, kv bucket, prefix string, set func(id string, x T), gone func(id string), begun func()) error {
	return command.Follow(ctx, kv, prefix+">", func(e jetstream.KeyValueEntry) {
		id := strings.TrimPrefix(e.Key(), prefix)
		var x T
		if e.Operation() != jetstream.KeyValuePut || json.Unmarshal(e.Value(), &x) != nil {
			gone(id)
			return
		}
		set(id, x)
	}, begun)
}

// persist does again, after a second, what ends before ctx does.
func (t *Triage) persist(ctx context.Context, interrupted string, do func() error) {
	for ctx.Err() == nil {
		err := do()
		if ctx.Err() != nil {
			return
		}
		t.log.Warn(interrupted, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
