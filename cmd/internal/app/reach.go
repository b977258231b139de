package app

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"

	"github.com/stakeout-project/stakeout/triage/command"
)

var errNoSigningKey = errors.New("operator.signing_key: is empty, want the file of your signing seed, or run beside 'stakeout up', which has one")

// reach connects an operator to NATS. A role waits for a server that is away; who
// types a command wants to be told.
func (c OperatorConfig) reach(log *slog.Logger) (*nats.Conn, error) {
	nc, err := command.Connect(c.NATS, "stakeout-operator", log)
	if err != nil {
		return nil, err
	}
	if !nc.IsConnected() {
		nc.Close()
		return nil, fmt.Errorf("connect to nats %s: no answer; does 'stakeout up' run here, or where else is NATS (operator.nats.url)?", c.NATS.URL)
	}
	return nc, nil
}
