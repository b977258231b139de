package command

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"
)

// canaryPrefix begins the id of an agent that misbehaves so that the chain can
// be watched at work. Its id says when it was sent and who sent it, signed: what
// merely calls itself a canary is treated like any other agent.
const canaryPrefix = "stakeout-canary-"

// canaryFor is how long a canary counts as one. A copied id is of no use then.
const canaryFor = 24 * time.Hour

func signedCanary(at string) []byte { return []byte("stakeout canary v1\n" + at) }

// NewCanary makes the id of a canary that an operator sends at a time.
func NewCanary(s *Signer, at time.Time) (agent string, err error) {
	unix := strconv.FormatInt(at.Unix(), 10)
	sig, err := s.key.Sign(signedCanary(unix))
	if err != nil {
		return "", fmt.Errorf("sign canary: %w", err)
	}
	return canaryPrefix + unix + "-" + base64.RawURLEncoding.EncodeToString(sig), nil
}

// IsCanary reports whether an operator sent the agent as a canary lately, and when.
func IsCanary(k Keyring, agent string, now time.Time) (sent time.Time, ok bool) {
	rest, ok := strings.CutPrefix(agent, canaryPrefix)
	if !ok {
		return sent, false
	}
	at, text, _ := strings.Cut(rest, "-")
	unix, err := strconv.ParseInt(at, 10, 64)
	if err != nil || strconv.FormatInt(unix, 10) != at {
		return sent, false
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return sent, false
	}
	if sent = time.Unix(unix, 0); now.Sub(sent).Abs() > canaryFor {
		return sent, false
	}
	for _, key := range k.Operators {
		if pub, err := nkeys.FromPublicKey(key); err == nil && pub.Verify(signedCanary(at), sig) == nil {
			return sent, true
		}
	}
	return sent, false
}

// CanaryID is the id of the action that answers a canary.
func CanaryID(agent string) string {
	sum := sha256.Sum256([]byte("canary\x00" + agent))
	return hex.EncodeToString(sum[:16])
}
