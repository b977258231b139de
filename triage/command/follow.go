package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Follow hands on what stands in a bucket under keys, such as "stop.>", and then each
// change, until ctx ends. It calls begun when all that there was is known.
func Follow(ctx context.Context, kv jetstream.KeyValue, keys string, each func(jetstream.KeyValueEntry), begun func()) (err error) {
	w, err := kv.Watch(ctx, keys)
	if err != nil {
		return fmt.Errorf("watch %s of bucket %s: %w", keys, kv.Bucket(), err)
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.New("the watch ended")
			case e == nil: // all that there was
				begun()
			default:
				each(e)
			}
		}
	}
}
