package executor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/stakeout-project/stakeout/triage/command"
)

// ErrNoToken says that a vault holds no token under a credential's id.
var ErrNoToken = errors.New("no token is held under this credential's id")

// A Vault finds the token that a credential's id stands for. It lives beside the
// identity provider: revoking takes the token itself, and that never passes
// through logs, Kafka or NATS.
type Vault interface {
	Token(ctx context.Context, credential string) (string, error)
}

// DirVault is a directory with one file per token, named by command.Token of the
// credential's id and readable by its owner only.
type DirVault string

// Token implements [Vault].
func (d DirVault) Token(_ context.Context, credential string) (string, error) {
	name := command.Token(credential) // has neither slash nor dot
	token, err := readSecret(filepath.Join(string(d), name))
	if errors.Is(err, fs.ErrNotExist) || len(name) > 255 {
		return "", ErrNoToken
	}
	if err != nil {
		return "", fmt.Errorf("vault: %w", err)
	}
	return token, nil
}
