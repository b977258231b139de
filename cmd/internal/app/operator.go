package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// OperatorConfig is who decides on actions that wait for approval.
type OperatorConfig struct {
	NATS       command.NATSConfig `koanf:"nats" json:"nats"`
	SigningKey string             `koanf:"signing_key" json:"signing_key"` // file with the seed (SA...) that decisions are signed with
}

// Send signs what an operator decided and sends it to triage.
func Send(ctx context.Context, cfg OperatorConfig, a command.Approval, log *slog.Logger) error {
	if cfg.SigningKey == "" {
		return errNoSigningKey
	}
	a.Time = event.At(time.Now())
	signer, err := command.ReadSigner(cfg.SigningKey)
	if err != nil {
		return err
	}
	msg, err := command.EncodeApproval(signer, a)
	if err != nil {
		return err
	}
	nc, err := cfg.reach(log)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("send the decision on %s: %w", cmp.Or(a.Agent, a.Action), err)
	}
	return nil
}
