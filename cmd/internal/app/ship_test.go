package app

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/cmd/internal/input"
	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// kept is a sink that keeps what it is given, and fails when it is told to.
type kept struct {
	lines, keys []string
	flushed     int
	err         error
}

func (k *kept) Append(_ string, _ int, key, value []byte, _ ...stream.Header) {
	k.lines, k.keys = append(k.lines, string(value)), append(k.keys, string(key))
}

func (k *kept) Flush(context.Context) error {
	if k.err == nil {
		k.flushed = len(k.lines)
	}
	return k.err
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// split is what shipping should make of a text.
func split(text string) (lines []string, refused int64) {
	for line := range strings.SplitAfterSeq(text, "\n") {
		if line == "" {
			continue
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if len(line) > maxLine {
			refused++
			continue
		}
		lines = append(lines, line)
	}
	return lines, refused
}

func shipped(t testing.TB, in *bufio.Reader) (*kept, Shipped) {
	t.Helper()
	out := &kept{}
	s := shipment{out: out, log: quiet()}
	if err := s.lines(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if out.flushed != len(out.lines) || s.sent.Lines != int64(len(out.lines)) {
		t.Errorf("%d lines were taken, %d acknowledged and %d counted", len(out.lines), out.flushed, s.sent.Lines)
	}
	return out, s.sent
}

func TestShipLines(t *testing.T) {
	longest := strings.Repeat("x", maxLine)
	for _, text := range []string{
		"", "\n", "\r\n", "\n\n", "a", "a\n", "a\r\n", "a\r", "a\r\r\n", "a\nb", "a\n\nb\r\n\r\nc", "\x00\xff\n", "a\rb\n",
		longest, longest + "\n", longest + "\r\n", "a\n" + longest + "x\nb", longest + "x", longest + "x\r\n" + longest + "\r\n",
		"a\n" + strings.Repeat("y", 3*maxLine) + "\nb\n",
	} {
		name := text[:min(len(text), 20)]
		want, refused := split(text)
		for _, size := range []int{16, 1 << 20} {
			out, sent := shipped(t, bufio.NewReaderSize(strings.NewReader(text), size))
			if diff := cmp.Diff(want, out.lines); diff != "" || sent.Refused != refused {
				t.Errorf("%q with a buffer of %d: %d refused, want %d (-want +got):\n%.500s", name, size, sent.Refused, refused, diff)
			}
		}
	}
}

func TestShipKeys(t *testing.T) {
	out, _ := shipped(t, bufio.NewReader(strings.NewReader(`{"time":"2026-01-05T09:00:00Z","event.name":"heartbeat","gen_ai.agent.id":"clerk"}`+"\n{}\n")))
	if diff := cmp.Diff([]string{"clerk", ""}, out.keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestShipErrors(t *testing.T) {
	broken := errors.New("broken")
	out := &kept{}
	s := shipment{out: out, log: quiet()}
	err := s.lines(t.Context(), bufio.NewReader(io.MultiReader(strings.NewReader("a\nb\nhalf of"), iotest.ErrReader(broken))))
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "after line 2") || s.sent.Lines != 2 {
		t.Errorf("of a reader that fails came %d lines and %v, want 2", s.sent.Lines, err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, out.lines); diff != "" {
		t.Errorf("a line that is not whole was sent (-want +got):\n%s", diff)
	}

	s = shipment{out: &kept{err: broken}, log: quiet()}
	if err := s.lines(t.Context(), bufio.NewReader(strings.NewReader("a\nb\n"))); !errors.Is(err, broken) || s.sent.Lines != 0 {
		t.Errorf("of brokers that fail came %d acknowledged lines and %v", s.sent.Lines, err)
	}
}

func TestShipGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	in, done := interruptible(ctx, iotest.DataErrReader(neverReader{}))
	defer done()
	cancel(stopped)
	if _, err := in.Read(make([]byte, 1)); !errors.Is(err, stopped) {
		t.Errorf("a read that waits ends with %v, want %v", err, stopped)
	}

	cfg := DefaultConfig()
	cfg.Kafka.Brokers = []string{"127.0.0.1:1"}
	start := time.Now()
	_, err := Ship(t.Context(), cfg, quiet(), strings.NewReader("a\n"), "x", 300*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "no answer of 127.0.0.1:1 (kafka.brokers) within 300ms") || time.Since(start) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

// neverReader waits for ever.
type neverReader struct{}

func (neverReader) Read([]byte) (int, error) { select {} }

func TestShipToBroker(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	kafka := local.DefaultKafkaConfig()
	kafka.Listen = "127.0.0.1:0"
	k, err := local.StartKafka(kafka, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := DefaultConfig()
	cfg.Kafka.Brokers = []string{k.Addr()}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte("a\r\nb\n\nc")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{"plain": strings.NewReader("a\r\nb\n\nc"), "gzip": &packed} {
		sent, err := Ship(t.Context(), cfg, log, r, name, time.Minute)
		if err != nil || sent.Lines != 4 || sent.Bytes != 3 || sent.Refused != 0 {
			t.Errorf("%s: Ship = %+v, %v", name, sent, err)
		}
	}
}

func FuzzShipLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n{}"), uint8(1))
	f.Add([]byte("\r\n\r\r\n\x00"), uint8(16))
	f.Add(bytes.Repeat([]byte("line\n"), 20), uint8(7))
	f.Fuzz(func(t *testing.T, text []byte, chunk uint8) {
		if len(text) > 1 && text[0] == 0x1f && text[1] == 0x8b {
			return
		}
		want, _ := split(string(text))
		out, _ := shipped(t, bufio.NewReaderSize(&chunks{text, int(chunk) + 1}, 16))
		if diff := cmp.Diff(want, out.lines); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		in, err := input.Plain(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		out, _ = shipped(t, in)
		if diff := cmp.Diff(want, out.lines); diff != "" {
			t.Errorf("read at once (-want +got):\n%s", diff)
		}
	})
}

// chunks hands out a text in pieces, as a pipe does.
type chunks struct {
	text []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.size)], c.text)
	c.text = c.text[n:]
	return n, nil
}
