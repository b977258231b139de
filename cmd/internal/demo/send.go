package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// sender writes events to the raw topic, as a log shipper would.
type sender struct {
	out   *stream.Producer
	topic string
	line  []byte
	sent  int64
}

func newSender(ctx context.Context, client *stream.Client, topic string) (*sender, error) {
	out, err := client.NewProducer(ctx)
	return &sender{out: out, topic: topic}, err
}

const sendBuffer = 1 << 20

func (s *sender) send(ctx context.Context, ev *event.Event) error {
	s.line = ev.AppendJSON(s.line[:0])
	s.out.Append(s.topic, -1, []byte(ev.Agent), s.line)
	s.sent++
	if s.out.Buffered() > sendBuffer {
		return s.flush(ctx)
	}
	return nil
}

func (s *sender) flush(ctx context.Context) error {
	if err := s.out.Flush(ctx); err != nil {
		return fmt.Errorf("send events: %w", err)
	}
	return nil
}

// issue has the identity provider issue the token behind a credential id, and
// puts it where the executor looks for it.
func (d *demo) issue(id string) error {
	token := d.idp.Issue(id)
	return os.WriteFile(filepath.Join(d.app.OAuth.Vault, command.Token(id)), []byte(token), 0o600)
}
