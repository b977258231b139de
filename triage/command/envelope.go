package command

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Headers of a signed message.
const (
	KeyHeader       = "Stakeout-Key"       // public nkey of the signer
	SignatureHeader = "Stakeout-Signature" // base64url without padding
	AttemptHeader   = "Stakeout-Attempt"   // of an action: 1 for the first time it is commanded; informative, not signed
	ContentType     = "application/cloudevents+json"
)

// Types of our CloudEvents.
const (
	ActionType   = "dev.stakeout.action.v1"
	OutcomeType  = "dev.stakeout.outcome.v1"
	AckType      = "dev.stakeout.ack.v1"
	ApprovalType = "dev.stakeout.approval.v1"
)

// MaxSize bounds the payload of a message, in bytes.
const MaxSize = 64 << 10

const maxID = 128

// Why a message is not believed.
var (
	ErrUnsigned  = errors.New("not signed")
	ErrUntrusted = errors.New("signed by a key that is not trusted for this")
	ErrAltered   = errors.New("signature does not fit subject and content")
	ErrExpired   = errors.New("expired")
	ErrTooLarge  = errors.New("larger than 64 KiB")
	ErrMalformed = errors.New("malformed")
)

// envelope is a CloudEvent 1.0 in structured JSON. Attributes we do not know are passed over.
type envelope struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            event.Timestamp `json:"time,omitzero"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

// signed returns the bytes a signature covers. The subject is part of them, so
// a message cannot be played again under another subject, and the first line
// keeps a signature made here from meaning anything elsewhere.
func signed(subject string, payload []byte) []byte {
	b := make([]byte, 0, len("stakeout command v1\n")+len(subject)+1+len(payload))
	b = append(b, "stakeout command v1\n"...)
	b = append(b, subject...)
	b = append(b, '\n')
	return append(b, payload...)
}

// seal builds the signed message of one value.
func seal[T any](s *Signer, subject string, e envelope, data T) (*nats.Msg, error) {
	raw, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Type, err)
	}
	e.SpecVersion, e.DataContentType, e.Data = "1.0", "application/json", raw
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Type, err)
	}
	if len(payload) > MaxSize {
		return nil, fmt.Errorf("encode %s: is %d bytes: %w", e.Type, len(payload), ErrTooLarge)
	}
	sig, err := s.key.Sign(signed(subject, payload))
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", e.Type, err)
	}
	m := nats.NewMsg(subject)
	m.Data = payload
	m.Header.Set("Content-Type", ContentType)
	m.Header.Set(KeyHeader, s.public)
	m.Header.Set(SignatureHeader, base64.RawURLEncoding.EncodeToString(sig))
	return m, nil
}

// A Message is what a parser needs of a NATS message: *nats.Msg and
// jetstream.Msg give it through [FromMsg] and their methods.
type Message struct {
	Subject string
	Header  nats.Header
	Data    []byte
}

// FromMsg takes the parts of m.
func FromMsg(m *nats.Msg) Message {
	return Message{Subject: m.Subject, Header: m.Header, Data: m.Data}
}

// Verify reports why a payload on a subject is not believed to be of a role, by
// the public key and the signature that came with it.
func Verify(k Keyring, r Role, subject, key, signature string, payload []byte) error {
	if key == "" || signature == "" {
		return ErrUnsigned
	}
	if !k.trusts(r, key) {
		return fmt.Errorf("%.80q: %w", key, ErrUntrusted)
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	if err != nil {
		return fmt.Errorf("signature: %w", ErrAltered)
	}
	pub, err := nkeys.FromPublicKey(key)
	if err != nil {
		return fmt.Errorf("key: %w", ErrUntrusted)
	}
	if pub.Verify(signed(subject, payload), sig) != nil {
		return ErrAltered
	}
	return nil
}

// unseal verifies a message before it reads any of it: first the size, then the
// signer, then the signature, then the form.
func unseal[T any](k Keyring, r Role, m Message, typ, prefix string) (e envelope, data T, key string, err error) {
	if len(m.Data) > MaxSize {
		return e, data, "", fmt.Errorf("%s: is %d bytes: %w", typ, len(m.Data), ErrTooLarge)
	}
	key = m.Header.Get(KeyHeader)
	if err := Verify(k, r, m.Subject, key, m.Header.Get(SignatureHeader), m.Data); err != nil {
		return e, data, "", fmt.Errorf("%s: %w", typ, err)
	}
	malformed := func(format string, a ...any) (envelope, T, string, error) {
		return e, data, "", fmt.Errorf("%s: %s: %w", typ, fmt.Sprintf(format, a...), ErrMalformed)
	}
	if !strings.HasPrefix(m.Subject, prefix) {
		return malformed("came on %.80q", m.Subject)
	}
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return malformed("%v", err)
	}
	if e.SpecVersion != "1.0" {
		return malformed("specversion is %.20q, want 1.0", e.SpecVersion)
	}
	if e.Type != typ {
		return malformed("type is %.80q", e.Type)
	}
	if e.Source != source(r) {
		return malformed("source is %.80q, want %s", e.Source, source(r))
	}
	if e.DataContentType != "application/json" {
		return malformed("datacontenttype is %.80q, want application/json", e.DataContentType)
	}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return malformed("data: %v", err)
	}
	return e, data, key, nil
}

func source(r Role) string { return "stakeout/" + string(r) }
