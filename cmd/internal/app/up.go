package app

import (
	"context"
	"errors"
	"log/slog"

	"github.com/stakeout-project/stakeout/rules"
)

// read reads every file of rules once, to tell of all that is wrong with them before
// any server is started for them.
func (r Rules) read() error {
	_, detection := rules.Detection(r.Detection)
	_, response := rules.Response(r.Response)
	_, peers := rules.Peers(r.Peers)
	return errors.Join(detection, response, peers)
}

// Up runs all roles over embedded parts until ctx ends. When everything is ready
// it calls started with the configuration in force.
func Up(ctx context.Context, cfg Config, log *slog.Logger, started func(Config)) (err error) {
	if err := cfg.Rules.read(); err != nil {
		return err
	}
	l, cfg, err := StartLocal(ctx, cfg, log)
	if err != nil {
		return unlessDone(ctx, err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	roles := []Role{Ingest, Detect, Triage, Store, Executor}
	if cfg.Canary.Every > 0 && cfg.Operator.SigningKey != "" {
		roles = append(roles, Canary)
	}
	return run(ctx, cfg, log, func(ctx context.Context, cfg Config, h *health) error {
		if err := l.announce(cfg); err != nil { // now with the address of health and metrics
			return err
		}
		if h.wait(ctx) == nil {
			started(cfg)
		}
		if l.Kafka == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-l.Kafka.Failed():
			return err
		}
	}, roles...)
}
