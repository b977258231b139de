package main_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	parts "github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// testAnswers has somebody who holds the executor's login, and in the end its key, answer
// for it: for an action that is verified, and for one that was held back.
func (c *containment) testAnswers(t *testing.T, contained, spared string) {
	done, held := c.action(t, contained, "revoke_token", "verified").Action.ID, c.action(t, spared, "revoke_token", "held").Action.ID
	js, executor := c.as(t, parts.ExecutorRole)
	_, operator := c.as(t, parts.OperatorRole)
	answer := func(by *command.Signer, action string, status command.Status) *nats.Msg {
		t.Helper()
		m, err := command.EncodeAck(by, command.Ack{Action: action, Status: status, Detail: "says who answers", Time: event.At(time.Now())})
		check(t, err)
		return m
	}
	expect := func(name, result string, m *nats.Msg) {
		t.Helper()
		count := func() int { return c.up.metric("stakeout_triage_answers_total", `result="`+result+`"`) }
		before := count()
		m.Header.Del(nats.MsgIdHdr) // by which the server would drop what it has seen
		_, err := js.PublishMsg(t.Context(), m)
		check(t, err)
		eventually(t, 30*time.Second, func() error {
			if n := count(); n != before+1 {
				return fmt.Errorf("%s: %d answers are %s, want %d", name, n, result, before+1)
			}
			return nil
		})
	}
	moved := func(m *nats.Msg, action string) *nats.Msg {
		return &nats.Msg{Subject: command.AckSubject(action), Header: m.Header, Data: m.Data}
	}
	expect("by a stranger", "refused", answer(stranger(t), held, command.Verified))
	expect("by an operator", "refused", answer(operator, held, command.Verified))
	expect("for another action", "refused", moved(answer(executor, done, command.Verified), held))
	altered := answer(executor, held, command.Failed)
	altered.Data = bytes.ReplaceAll(altered.Data, []byte("failed"), []byte("verified"))
	expect("altered", "refused", altered)
	unsigned := answer(executor, held, command.Verified)
	unsigned.Header.Del(command.SignatureHeader)
	expect("not signed", "refused", unsigned)
	expect("for no action", "unknown", answer(executor, "nosuch", command.Verified))
	expect("again", "duplicate", c.recorded(t, command.AckSubject(done)))
	expect("of an action that was never commanded", "contradicting", answer(executor, held, command.Verified))
	expect("otherwise than before", "contradicting", answer(executor, done, command.Failed))

	page := func(agent, says string) {
		t.Helper()
		eventually(t, 30*time.Second, func() error {
			for _, o := range c.outcomes(t, agent) {
				if o.Action.Kind == "page" && strings.Contains(o.Action.Reason, says) {
					return nil
				}
			}
			return fmt.Errorf("no page about %s says %q", agent, says)
		})
	}
	page(contained, "is verified, but an executor answered otherwise")
	page(spared, "is held, but an executor answered otherwise")
	c.action(t, contained, "revoke_token", "verified")
	c.action(t, spared, "revoke_token", "held")
	if n := c.commands(t, held); n != 0 {
		t.Errorf("answers have had an action commanded %d times that was held back", n)
	}
}

// as connects as a role, with its keys.
func (c *containment) as(t *testing.T, role parts.NATSRole) (jetstream.JetStream, *command.Signer) {
	t.Helper()
	keys := filepath.Join(c.dir, "nats", "keys")
	login, err := nats.NkeyOptionFromSeed(filepath.Join(keys, string(role)+".nk"))
	check(t, err)
	nc, err := nats.Connect("nats://"+c.up.nats, login, nats.CustomInboxPrefix("_INBOX_"+string(role)))
	check(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	check(t, err)
	signer, err := command.ReadSigner(filepath.Join(keys, string(role)+".sign.nk"))
	check(t, err)
	return js, signer
}

// recorded is the last message that stands on a subject of answers.
func (c *containment) recorded(t *testing.T, subject string) *nats.Msg {
	t.Helper()
	s, err := c.up.operator(t).Stream(t.Context(), command.Acks)
	check(t, err)
	m, err := s.GetLastMsgForSubject(t.Context(), subject)
	check(t, err)
	return &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}
}

func (c *containment) outcomes(t *testing.T, agent string) []outcome {
	t.Helper()
	return answer[outcome](t, "actions", "--config", c.up.file, "--agent", agent)
}
