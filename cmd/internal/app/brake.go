package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/triage/command"
)

// Brakes reads every brake that was ever on, the latest change first.
func Brakes(ctx context.Context, cfg OperatorConfig, log *slog.Logger) ([]command.Brake, error) {
	nc, err := cfg.reach(log)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	kv, err := js.KeyValue(ctx, command.ActionBucket)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", command.ActionBucket, err)
	}
	keys, err := kv.ListKeysFiltered(ctx, command.BrakePrefix+">")
	if err != nil {
		return nil, fmt.Errorf("list brakes: %w", err)
	}
	var all []command.Brake
	for key := range keys.Keys() {
		e, err := kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) { // it has aged out meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		var b command.Brake
		if err := json.Unmarshal(e.Value(), &b); err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b command.Brake) int { return b.Since.Time().Compare(a.Since.Time()) })
	return all, nil
}
