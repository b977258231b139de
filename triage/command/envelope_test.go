package command

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/stakeout-project/stakeout/ingest/event"
)

func newSigner(tb testing.TB) *Signer {
	tb.Helper()
	kp, err := nkeys.CreateAccount()
	if err != nil {
		tb.Fatal(err)
	}
	seed, err := kp.Seed()
	if err != nil {
		tb.Fatal(err)
	}
	s, err := NewSigner(seed)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func testAction() Action {
	now := event.At(time.Date(2026, 1, 19, 10, 0, 0, 5, time.UTC))
	return Action{
		ID: "a1", Incident: "i1", Kind: RevokeToken, Mode: Auto, Policy: "p", Reason: "because <it> \"did\"",
		Target: Target{Agent: "mail/agent 7", Session: "s", Credential: "jti-1"}, Findings: []string{"f1", "f2"},
		Occurred: now, Decided: now + 1, Expires: now + event.Timestamp(time.Minute),
	}
}

func TestRoundTrip(t *testing.T) {
	triage, executor, operator := newSigner(t), newSigner(t), newSigner(t)
	ring := Keyring{Triage: []string{triage.Public()}, Executors: []string{executor.Public()}, Operators: []string{operator.Public()}}
	if err := ring.Validate(); err != nil {
		t.Fatal(err)
	}

	m, err := EncodeAction(triage, testAction(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := "stakeout.action.revoke_token.mail=2Fagent=207"; m.Subject != want {
		t.Errorf("subject is %s, want %s", m.Subject, want)
	}
	if got := m.Header.Get(nats.MsgIdHdr); got != "a1.2" {
		t.Errorf("message id is %s, want a1.2", got)
	}
	if got := Attempt(m.Header); got != 2 {
		t.Errorf("attempt is %d, want 2", got)
	}
	if got := m.Header.Get("Content-Type"); got != ContentType {
		t.Errorf("content type is %s", got)
	}
	a, err := ParseAction(ring, FromMsg(m))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(testAction(), a); d != "" {
		t.Error(d)
	}

	o := Outcome{Action: testAction(), Status: Verified, Detail: "gone", Executor: executor.Public(), Time: 7}
	if m, err = EncodeOutcome(triage, o); err != nil {
		t.Fatal(err)
	}
	gotO, err := ParseOutcome(ring, FromMsg(m))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(o, gotO); d != "" {
		t.Error(d)
	}

	ack := Ack{Action: "a1", Status: Unverified, Detail: "still active", Time: 9}
	if m, err = EncodeAck(executor, ack); err != nil {
		t.Fatal(err)
	}
	gotA, key, err := ParseAck(ring, FromMsg(m))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(ack, gotA); d != "" || key != executor.Public() {
		t.Error(d, key)
	}

	ap := Approval{Action: "a1", Decision: Approved, Why: "seen it", Time: 9}
	if m, err = EncodeApproval(operator, ap); err != nil {
		t.Fatal(err)
	}
	gotP, key, err := ParseApproval(ring, FromMsg(m))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(ap, gotP); d != "" || key != operator.Public() {
		t.Error(d, key)
	}
}

func TestParseActionRefuses(t *testing.T) {
	triage, executor, stranger := newSigner(t), newSigner(t), newSigner(t)
	ring := Keyring{Triage: []string{triage.Public()}, Executors: []string{executor.Public()}}
	f := func(name string, want error, by *Signer, change func(*nats.Msg)) {
		t.Helper()
		m, err := EncodeAction(by, testAction(), 1)
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		if _, err := ParseAction(ring, FromMsg(m)); !errors.Is(err, want) {
			t.Errorf("%s: error is %v, want %v", name, err, want)
		}
	}
	resign := func(m *nats.Msg) {
		sig, err := triage.key.Sign(signed(m.Subject, m.Data))
		if err != nil {
			t.Fatal(err)
		}
		m.Header.Set(SignatureHeader, base64.RawURLEncoding.EncodeToString(sig))
	}
	replace := func(old, by string) func(*nats.Msg) {
		return func(m *nats.Msg) {
			if !strings.Contains(string(m.Data), old) {
				t.Fatalf("%s is not in %s", old, m.Data)
			}
			m.Data = []byte(strings.Replace(string(m.Data), old, by, 1))
			resign(m)
		}
	}
	f("no key", ErrUnsigned, triage, func(m *nats.Msg) { m.Header.Del(KeyHeader) })
	f("no signature", ErrUnsigned, triage, func(m *nats.Msg) { m.Header.Del(SignatureHeader) })
	f("no header at all", ErrUnsigned, triage, func(m *nats.Msg) { m.Header = nil })
	f("a stranger", ErrUntrusted, stranger, func(*nats.Msg) {})
	f("an executor", ErrUntrusted, executor, func(*nats.Msg) {})
	f("another's name", ErrAltered, stranger, func(m *nats.Msg) { m.Header.Set(KeyHeader, triage.Public()) })
	f("one byte of the content", ErrAltered, triage, func(m *nats.Msg) { m.Data[len(m.Data)/2] ^= 1 })
	f("another agent's subject", ErrAltered, triage, func(m *nats.Msg) { m.Subject = ActionSubject(RevokeToken, "other") })
	f("signature not base64", ErrAltered, triage, func(m *nats.Msg) { m.Header.Set(SignatureHeader, "!") })
	f("too large", ErrTooLarge, triage, func(m *nats.Msg) { m.Data = make([]byte, MaxSize+1) })
	f("wrong subject, well signed", ErrMalformed, triage, func(m *nats.Msg) { m.Subject = ActionSubject(RevokeToken, "other"); resign(m) })
	f("not an action's subject", ErrMalformed, triage, func(m *nats.Msg) { m.Subject = "stakeout.ack.a1"; resign(m) })
	f("not JSON", ErrMalformed, triage, func(m *nats.Msg) { m.Data = []byte("{"); resign(m) })
	f("specversion", ErrMalformed, triage, replace(`"specversion":"1.0"`, `"specversion":"0.3"`))
	f("type", ErrMalformed, triage, replace(ActionType, OutcomeType))
	f("source", ErrMalformed, triage, replace(`"stakeout/triage"`, `"stakeout/executor"`))
	f("content type of data", ErrMalformed, triage, replace(`"application/json"`, `"text/plain"`))
	f("id of the envelope", ErrMalformed, triage, replace(`"id":"a1"`, `"id":"a2"`))
	f("kind", ErrMalformed, triage, replace(`"kind":"revoke_token"`, `"kind":"a.b"`))
	f("mode", ErrMalformed, triage, replace(`"mode":"auto"`, `"mode":"now"`))
	f("no data", ErrMalformed, triage, func(m *nats.Msg) {
		m.Data = m.Data[:strings.Index(string(m.Data), `,"data":`)]
		m.Data = append(m.Data, '}')
		resign(m)
	})
}

func TestAckAndApprovalOfAnotherAction(t *testing.T) {
	s := newSigner(t)
	ring := Keyring{Executors: []string{s.Public()}}
	m, err := EncodeAck(s, Ack{Action: "a1", Status: Verified, Time: 1})
	if err != nil {
		t.Fatal(err)
	}
	m.Subject = AckSubject("a2")
	if _, _, err := ParseAck(ring, FromMsg(m)); !errors.Is(err, ErrAltered) {
		t.Errorf("ack played under another action: %v, want %v", err, ErrAltered)
	}
	if _, err := EncodeAck(s, Ack{Action: "a1", Status: Commanded}); !errors.Is(err, ErrMalformed) {
		t.Errorf("ack with a status an executor cannot know: %v, want %v", err, ErrMalformed)
	}
	if _, err := EncodeApproval(s, Approval{Action: "a1", Decision: "maybe"}); !errors.Is(err, ErrMalformed) {
		t.Errorf("approval that is neither yes nor no: %v, want %v", err, ErrMalformed)
	}
	if _, err := EncodeApproval(s, Approval{Action: "a.1", Decision: Approved}); !errors.Is(err, ErrMalformed) {
		t.Errorf("approval of an id with a dot: %v, want %v", err, ErrMalformed)
	}
}

func TestFresh(t *testing.T) {
	a := testAction()
	if err := a.Fresh(a.Expires.Time().Add(-1)); err != nil {
		t.Error(err)
	}
	if err := a.Fresh(a.Expires.Time()); !errors.Is(err, ErrExpired) {
		t.Errorf("at its end: %v, want %v", err, ErrExpired)
	}
}

func TestSignerWantsAnAccountKey(t *testing.T) {
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSigner(seed); err == nil {
		t.Error("a key that logs in was taken for signing")
	}
	public, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	both := newSigner(t).Public()
	err = Keyring{Triage: []string{public, both}, Executors: []string{both}}.Validate()
	for _, want := range []string{"triage[0]: ", "want one role per key"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want it to contain %q", err, want)
		}
	}
}

func TestToken(t *testing.T) {
	f := func(id, want string) {
		t.Helper()
		if got := Token(id); got != want {
			t.Errorf("Token(%q) = %q, want %q", id, got, want)
		}
	}
	f("agent-7_B", "agent-7_B")
	f("", "=")
	f("=", "=3D")
	f("a.b", "a=2Eb")
	f("*", "=2A")
	f("> ", "=3E=20")
	f("ä", "=C3=A4")
	f("a\x00\n", "a=00=0A")
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "a", "a.b", "=2E", "\xff", "> *"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		got := Token(id)
		if strings.ContainsAny(got, ". *>\t\r\n\x00") || got == "" {
			t.Errorf("Token(%q) = %q is not one token", id, got)
		}
		var back []byte
		for i := 0; i < len(got); i++ {
			if got[i] != '=' || got == "=" {
				if got != "=" {
					back = append(back, got[i])
				}
				continue
			}
			const hex = "0123456789ABCDEF"
			back = append(back, byte(strings.IndexByte(hex, got[i+1])<<4|strings.IndexByte(hex, got[i+2])))
			i += 2
		}
		if string(back) != id {
			t.Errorf("Token(%q) = %q reads back as %q", id, got, back)
		}
	})
}

// FuzzParse feeds the parsers content that a trusted key signed, so that it gets past the signature.
func FuzzParse(f *testing.F) {
	s := newSigner(f)
	all := []string{s.Public()}
	ring := Keyring{Triage: all, Executors: all, Operators: all}
	add := func(m *nats.Msg, err error) {
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Subject, m.Data)
	}
	add(EncodeAction(s, testAction(), 1))
	add(EncodeOutcome(s, Outcome{Action: testAction(), Status: Held}))
	add(EncodeAck(s, Ack{Action: "a1", Status: Failed}))
	add(EncodeApproval(s, Approval{Action: "a1", Decision: Refused}))
	f.Add("stakeout.action.x.y", []byte(`{"specversion":"1.0","data":null}`))
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		sig, err := s.key.Sign(signed(subject, data))
		if err != nil {
			t.Fatal(err)
		}
		h := nats.Header{}
		h.Set(KeyHeader, s.Public())
		h.Set(SignatureHeader, base64.RawURLEncoding.EncodeToString(sig))
		m := Message{Subject: subject, Header: h, Data: data}
		again := func(m2 *nats.Msg, err error) {
			t.Helper()
			// What was parsed may grow beyond the limit when its bytes are escaped; nothing else may be wrong with it.
			if errors.Is(err, ErrTooLarge) {
				return
			}
			if err != nil {
				t.Fatalf("parsed, but does not encode: %v", err)
			}
			if m2.Subject != subject {
				t.Fatalf("parsed from %q, encodes to %q", subject, m2.Subject)
			}
		}
		if a, err := ParseAction(ring, m); err == nil {
			again(EncodeAction(s, a, 1))
		}
		if o, err := ParseOutcome(ring, m); err == nil {
			again(EncodeOutcome(s, o))
		}
		if a, _, err := ParseAck(ring, m); err == nil {
			again(EncodeAck(s, a))
		}
		if a, _, err := ParseApproval(ring, m); err == nil {
			again(EncodeApproval(s, a))
		}
	})
}

func FuzzHeader(f *testing.F) {
	s := newSigner(f)
	ring := Keyring{Triage: []string{s.Public()}}
	m, err := EncodeAction(s, testAction(), 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Public(), m.Header.Get(SignatureHeader))
	f.Add("A", "")
	f.Fuzz(func(t *testing.T, key, sig string) {
		h := nats.Header{}
		h.Set(KeyHeader, key)
		h.Set(SignatureHeader, sig)
		_, err := ParseAction(ring, Message{Subject: m.Subject, Header: h, Data: m.Data})
		if good := key == s.Public() && sig == m.Header.Get(SignatureHeader); good != (err == nil) {
			t.Errorf("key %q, signature %q: %v", key, sig, err)
		}
	})
}

// FuzzOpenPosture holds that nothing is believed but what triage signed for the key.
func FuzzOpenPosture(f *testing.F) {
	s := fuzzSigner(f)
	ring := Keyring{Triage: []string{s.Public()}}
	p := Posture{Agent: "clerk", Standing: Contained, Set: 1, Expires: 2, Holds: []Hold{{Action: "a1", Standing: Contained, Expires: 2}}}
	good, err := SealPosture(s, "clerk", p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("clerk", good)
	f.Add("other", good)
	f.Add(BeatKey, []byte(`{"posture":{},"key":"`+s.Public()+`","signature":"AAAA"}`))
	f.Add("clerk", []byte("null"))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		got, err := OpenPosture(ring, key, value)
		if err == nil && (key != "clerk" || got.Agent != "clerk" || got.Standing != Contained || len(got.Holds) != 1) {
			t.Fatalf("posture of %q is believed: %+v", key, got)
		}
	})
}

// FuzzParseCase does the same for what triage tells of incidents.
func FuzzParseCase(f *testing.F) {
	s := fuzzSigner(f)
	ring := Keyring{Triage: []string{s.Public()}}
	m, err := EncodeCase(s, Case{Incident: Incident{ID: "i1", Agent: "clerk", Open: true}, Change: Grown, Disposition: &Disposition{Finding: "f1"}}, "c1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Subject, m.Header.Get(KeyHeader), m.Header.Get(SignatureHeader), m.Data)
	f.Add("stakeout.case.i2", m.Header.Get(KeyHeader), m.Header.Get(SignatureHeader), m.Data)
	f.Add("stakeout.case.i1", "", "", []byte("null"))
	f.Fuzz(func(t *testing.T, subject, key, signature string, data []byte) {
		h := nats.Header{}
		h.Set(KeyHeader, key)
		h.Set(SignatureHeader, signature)
		if c, err := ParseCase(ring, Message{Subject: subject, Header: h, Data: data}); err == nil && (subject != m.Subject || c.Incident.ID != "i1") {
			t.Fatalf("a case on %q is believed: %+v", subject, c)
		}
	})
}

func fuzzSigner(f *testing.F) *Signer {
	f.Helper()
	kp, err := nkeys.CreateAccount()
	if err != nil {
		f.Fatal(err)
	}
	seed, err := kp.Seed()
	if err != nil {
		f.Fatal(err)
	}
	s, err := NewSigner(seed)
	if err != nil {
		f.Fatal(err)
	}
	return s
}
