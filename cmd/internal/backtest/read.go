package backtest

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A taker is given each event, with where ingest had it from and, for what is a
// decision about a baseline instead of an event, the operation.
type taker func(ev *event.Event, src event.Source, op detect.Operation) error

// read gives take the events of a configuration, and returns how many lines or
// records are none.
func read(ctx context.Context, cfg Config, progress func(int), take taker) (rejected int64, err error) {
	if cfg.Kafka != nil {
		return cfg.Kafka.read(ctx, progress, take)
	}
	for _, name := range cfg.Files {
		n, err := readFile(ctx, name, progress, take)
		if err != nil {
			return rejected, fmt.Errorf("%s: %w", name, err)
		}
		rejected += n
	}
	return rejected, nil
}

// readFile gives take the events of one file, in the order of its lines.
func readFile(ctx context.Context, name string, progress func(int), take taker) (rejected int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var in io.Reader = counted{f, progress}
	if strings.HasSuffix(name, ".gz") {
		if in, err = gzip.NewReader(in); err != nil {
			return 0, err
		}
	}
	base := filepath.Base(name)
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 1<<16), 4<<20)
	var decoder event.Decoder
	var ev event.Event
	for line := 1; scan.Scan(); line++ {
		if len(scan.Bytes()) == 0 {
			continue
		}
		if line%4096 == 0 && ctx.Err() != nil {
			return rejected, ctx.Err()
		}
		if decoder.Decode(scan.Bytes(), &ev) != nil {
			rejected++
			continue
		}
		if ev.ID == "" {
			ev.ID = fmt.Sprintf("%s/%d", base, line)
		}
		if err := take(&ev, event.Source{}, ""); err != nil {
			return rejected, err
		}
	}
	return rejected, scan.Err()
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
