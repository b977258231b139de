package backtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/stakeout-project/stakeout/cmd/internal/input"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A taker is given each event, with where ingest had it from and, for what is a
// decision about a baseline instead of an event, the operation.
type taker func(ev *event.Event, src event.Source, op detect.Operation) error

// rejected counts the lines or records that are no events.
type rejected struct {
	n     int64
	first string // where the first one is, and why
}

func (r *rejected) add(where string, err error) {
	if r.n++; r.n == 1 {
		r.first = where + ": " + strings.TrimPrefix(err.Error(), "event: ")
	}
}

// read gives take the events of a configuration.
func read(ctx context.Context, cfg Config, progress func(int), take taker) (no rejected, err error) {
	if cfg.Kafka != nil {
		err = cfg.Kafka.read(ctx, progress, &no, take)
		return no, err
	}
	var events int64
	counted := func(ev *event.Event, src event.Source, op detect.Operation) error {
		events++
		return take(ev, src, op)
	}
	for _, name := range cfg.Files {
		if err := readFile(ctx, name, progress, &no, counted); err != nil {
			return no, fmt.Errorf("%s: %w", name, err)
		}
	}
	if events == 0 && no.n > 0 {
		return no, fmt.Errorf("none of %d lines is an event, the first is %s; want one JSON object a line, with time, event.name and gen_ai.agent.id", no.n, no.first)
	}
	return no, nil
}

// maxLine is the longest line that is read, as ingest would.
const maxLine = 4 << 20

// readFile gives take the events of one file, in the order of its lines.
func readFile(ctx context.Context, name string, progress func(int), no *rejected, take taker) (err error) {
	f, err := input.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	in, err := input.Plain(counted{f, progress})
	if err != nil {
		return err
	}
	return readLines(ctx, in, name, no, take)
}

// readLines gives take the events of what is read from in; name says what that is.
func readLines(ctx context.Context, in io.Reader, name string, no *rejected, take taker) error {
	base := filepath.Base(name)
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 1<<16), maxLine)
	var decoder event.Decoder
	var ev event.Event
	line := 0
	for scan.Scan() {
		if line++; len(scan.Bytes()) == 0 {
			continue
		}
		if line%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := decoder.Decode(scan.Bytes(), &ev); err != nil {
			no.add(fmt.Sprintf("%s:%d", name, line), err)
			continue
		}
		if ev.ID == "" {
			// As ingest does: two files of one shipper may hold the same line.
			id, numbered := ev.AppendIdentity(nil, scan.Bytes())
			if ev.ID = string(id); !numbered {
				ev.ID = fmt.Sprintf("%s/%d", base, line)
			}
		}
		if err := take(&ev, event.Source{}, ""); err != nil {
			return err
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("after line %d: %w", line, input.Explain(err))
	}
	return nil
}

type counted struct {
	r    io.Reader
	tell func(int)
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.tell(n)
	return n, err
}
