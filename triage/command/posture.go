package command

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nkeys"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Posture is how an agent stands right now. Its signed form is the value under
// the key Token(agent) of [PostureBucket]: an enforcement point watches the
// bucket and decides locally, so continuous authorisation costs no call. A
// missing key and an expired posture both mean [Normal].
//
// A watcher believes the posture with the latest Set and no deletion, so that
// whoever can write the bucket can neither make up a posture, nor bring an
// earlier one back, nor free an agent.
type Posture struct {
	Agent    string          `json:"agent"`
	Standing Standing        `json:"standing"`
	Reason   string          `json:"reason,omitempty"`
	Incident string          `json:"incident,omitempty"`
	Since    event.Timestamp `json:"since"`
	Set      event.Timestamp `json:"set"` // when triage wrote this value
	Expires  event.Timestamp `json:"expires"`
	Holds    []Hold          `json:"holds,omitempty"` // of the actions that call for it, the one that decides first
	Risk     *Risk           `json:"risk,omitempty"`  // as it was last told; it denies nothing by itself
}

// A Hold is what one action calls for. A posture is the worst of its holds that
// have not expired, so that the end of one action frees nobody whom another holds.
type Hold struct {
	Action   string          `json:"action"`
	Standing Standing        `json:"standing"`
	Limits   *Limits         `json:"limits,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Incident string          `json:"incident,omitempty"`
	Since    event.Timestamp `json:"since"`
	Expires  event.Timestamp `json:"expires"`
}

// Limits deny a part of what an agent does. Those of several holds add up: what
// one of them denies is denied.
type Limits struct {
	Approval bool     `json:"approval,omitempty"` // what changes the world needs a person's approval
	Tools    []string `json:"tools,omitempty"`    // that are denied
	Scopes   []string `json:"scopes,omitempty"`   // that are left; empty: all
	Session  string   `json:"session,omitempty"`  // that is over
}

// MaxHolds bounds the holds of a posture.
const MaxHolds = 16

// At returns the hold that decides at a time. There is none where the agent is [Normal].
func (p *Posture) At(now event.Timestamp) (worst Hold, ok bool) {
	for _, h := range p.Holds {
		if now < h.Expires && h.Standing.Rank() > worst.Standing.Rank() {
			worst, ok = h, true
		}
	}
	return worst, ok
}

// LimitsAt returns the limits that hold at a time, beside the standing.
func (p *Posture) LimitsAt(now event.Timestamp) []Limits {
	var all []Limits
	for _, h := range p.Holds {
		if h.Limits != nil && now < h.Expires {
			all = append(all, *h.Limits)
		}
	}
	return all
}

// BeatKey is the key of [PostureBucket] under which triage writes that it is
// alive: a posture of no agent. It is no agent's token.
const BeatKey = "stakeout.beat"

// sealedPosture is the signed form. The payload stands in it as it was signed, byte for byte.
type sealedPosture struct {
	Posture   json.RawMessage `json:"posture"`
	Key       string          `json:"key"`       // public nkey of the signer
	Signature string          `json:"signature"` // base64url without padding
}

// signedPosture returns the bytes a signature covers: the key of the bucket is
// part of them, and the first line keeps it from meaning anything elsewhere.
func signedPosture(key string, payload []byte) []byte {
	return append([]byte("stakeout posture v1\n"+key+"\n"), payload...)
}

// SealPosture makes the signed value of p that belongs under a key of the bucket.
func SealPosture(s *Signer, key string, p Posture) ([]byte, error) {
	payload, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode posture of %s: %w", key, err)
	}
	sig, err := s.key.Sign(signedPosture(key, payload))
	if err != nil {
		return nil, fmt.Errorf("sign posture of %s: %w", key, err)
	}
	return json.Marshal(sealedPosture{payload, s.public, base64.RawURLEncoding.EncodeToString(sig)})
}

// OpenPosture believes the value under a key only if triage signed it for this very key.
func OpenPosture(k Keyring, key string, value []byte) (Posture, error) {
	fail := func(err error) (Posture, error) { return Posture{}, fmt.Errorf("posture of %.80q: %w", key, err) }
	if len(value) > MaxSize {
		return fail(ErrTooLarge)
	}
	var sealed sealedPosture
	if err := json.Unmarshal(value, &sealed); err != nil {
		return fail(ErrMalformed)
	}
	if sealed.Key == "" || sealed.Signature == "" {
		return fail(ErrUnsigned)
	}
	if !k.trusts(Triage, sealed.Key) {
		return fail(ErrUntrusted)
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(sealed.Signature)
	if err != nil {
		return fail(ErrAltered)
	}
	pub, err := nkeys.FromPublicKey(sealed.Key)
	if err != nil {
		return fail(ErrUntrusted)
	}
	if err := pub.Verify(signedPosture(key, sealed.Posture), sig); err != nil {
		return fail(ErrAltered)
	}
	var p Posture
	if err := json.Unmarshal(sealed.Posture, &p); err != nil {
		return fail(ErrMalformed)
	}
	if want := Token(p.Agent); key != want && (key != BeatKey || p.Agent != "") {
		return fail(fmt.Errorf("it is about %.80q: %w", p.Agent, ErrMalformed))
	}
	return p, nil
}

// Standing says what an enforcement point should let an agent do.
type Standing string

// The standings, best first.
const (
	Normal     Standing = "normal"
	Watched    Standing = "watched"    // look closer
	Restricted Standing = "restricted" // containment is under way: deny what changes the world
	Contained  Standing = "contained"  // containment is verified: deny everything
)

// Rank orders the standings: a higher one allows less.
func (s Standing) Rank() int {
	switch s {
	case Watched:
		return 1
	case Restricted:
		return 2
	case Contained:
		return 3
	}
	return 0
}
