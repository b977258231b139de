package command

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/nats-io/nkeys"
)

// Role is what a key is trusted for.
type Role string

// The roles of signers.
const (
	Triage   Role = "triage"   // actions and outcomes
	Executor Role = "executor" // acks
	Operator Role = "operator" // approvals
)

// A Signer signs what one party says.
//
// Its key is an nkey of type account (SA...), never the user nkey (SU...) the
// party logs in to NATS with: logging in means signing a nonce that the server
// chooses, so a server that has been taken over could choose a command for a
// nonce. With two types of keys that is impossible instead of improbable.
type Signer struct {
	key    nkeys.KeyPair
	public string
}

// NewSigner makes a signer of an account seed.
func NewSigner(seed []byte) (*Signer, error) {
	kp, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		return nil, fmt.Errorf("signing seed: %w", err)
	}
	public, err := kp.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("signing seed: %w", err)
	}
	if !nkeys.IsValidPublicAccountKey(public) {
		return nil, errors.New("signing seed: want an nkey of type account (SA...), one that never logs in to a server")
	}
	return &Signer{key: kp, public: public}, nil
}

// ReadSigner makes a signer of the seed in a file that nobody but its owner may read.
func ReadSigner(path string) (*Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("signing seed: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("signing seed: %s has mode %04o, want 0600: others may read it", path, mode)
	}
	seed, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("signing seed: %w", err)
	}
	s, err := NewSigner(seed)
	clear(seed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Public returns the public key, as it stands in a [Keyring].
func (s *Signer) Public() string { return s.public }

// A Keyring names whom we believe: public account nkeys (A...) by role. A role
// has several keys while one is being replaced by the next.
type Keyring struct {
	Triage    []string `koanf:"triage" json:"triage"`       // may command and record outcomes
	Executors []string `koanf:"executors" json:"executors"` // may answer for an action
	Operators []string `koanf:"operators" json:"operators"` // may approve an action, where its policy lists them too
}

// Validate lists everything wrong with k.
func (k Keyring) Validate() error {
	var errs []error
	check := func(name string, keys []string) {
		for i, key := range keys {
			if !nkeys.IsValidPublicAccountKey(key) {
				errs = append(errs, fmt.Errorf("%s[%d]: is %q, want a public nkey of type account (A...)", name, i, key))
			}
		}
	}
	check("triage", k.Triage)
	check("executors", k.Executors)
	check("operators", k.Operators)
	seen := map[string]string{}
	for name, keys := range map[string][]string{"triage": k.Triage, "executors": k.Executors, "operators": k.Operators} {
		for _, key := range keys {
			if other, ok := seen[key]; ok && other != name {
				errs = append(errs, fmt.Errorf("%s: %s is trusted as %s too, want one role per key", max(name, other), key, min(name, other)))
			}
			seen[key] = name
		}
	}
	return errors.Join(errs...)
}

// With returns k with one more key that is trusted to command.
func (k Keyring) With(triage string) Keyring {
	k.Triage = append(slices.Clone(k.Triage), triage)
	return k
}

// trusts reports whether key may speak as role r.
func (k Keyring) trusts(r Role, key string) bool {
	switch r {
	case Triage:
		return slices.Contains(k.Triage, key)
	case Executor:
		return slices.Contains(k.Executors, key)
	case Operator:
		return slices.Contains(k.Operators, key)
	}
	return false
}
