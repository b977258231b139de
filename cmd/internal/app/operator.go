package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage"
	"github.com/stakeout-project/stakeout/triage/command"
)

// OperatorConfig is who decides on actions that wait for approval.
type OperatorConfig struct {
	NATS       command.NATSConfig `koanf:"nats" json:"nats"`
	SigningKey string             `koanf:"signing_key" json:"signing_key"` // file with the seed (SA...) that decisions are signed with
}

// Send signs what an operator decided and sends it to triage. A decision about what is
// not known is refused: triage would count it and do nothing. One that triage will not
// take is sent, and an error says why.
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
	about, err := known(ctx, js, a)
	if err != nil {
		return err
	}
	if _, err := js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("send the decision on %s: %w", cmp.Or(a.Agent, a.Action), err)
	}
	switch a.Decision {
	case command.Approved, command.Refused, command.Undo: // it is sent all the same, for the audit log
		if err := triage.Foretell(about, a, signer.Public(), a.Time.Time()); err != nil {
			return fmt.Errorf("the decision on %s is sent and in the audit log, but does not count: %w", a.Action, err)
		}
	}
	return nil
}

// known returns what a decision is about, as triage keeps it: nil for an agent. What is
// not known is an error.
func known(ctx context.Context, js jetstream.JetStream, a command.Approval) ([]byte, error) {
	var what, bucket, key, see string
	switch a.Decision {
	case command.Approved, command.Refused, command.Undo:
		what, bucket, key, see = "action", command.ActionBucket, command.ActionKey(a.Action), "actions"
	case command.Close, command.Reopen:
		what, bucket, key, see = "incident", command.IncidentBucket, command.IncidentKey(a.Action), "incidents"
	case command.Unsuppress:
		what, bucket, key, see = "suppression", command.IncidentBucket, command.SuppressionKey(a.Action), "suppressions"
	default:
		return nil, nil
	}
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	e, err := kv.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrInvalidKey):
		return nil, fmt.Errorf("%s %.80q: is not known; `stakeout %s` shows those there are, by their whole ids", what, a.Action, see)
	case err != nil:
		return nil, fmt.Errorf("read %s of %s: %w", key, bucket, err)
	}
	return e.Value(), nil
}
