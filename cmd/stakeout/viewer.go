package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/stage"
)

// perform plays a demonstration or a drill: it shows what happens, and at the end
// the result, if there is one. With JSON only the result goes to standard output.
//
// What the roles have to say would drown what is shown, and stopped agents that go on
// are part of the play, so it is told only where the play failed.
func perform[R interface{ Print(io.Writer) error }](cmd *cobra.Command, g *global, out format, play func(*viewer, *slog.Logger) (R, bool, error)) error {
	conf, _, err := g.load(cmd)
	if err != nil {
		return err
	}
	var said transcript
	conf.Log.Level = max(conf.Log.Level, slog.LevelWarn)
	stdout := cmd.OutOrStdout()
	v := &viewer{out: stdout, live: isTerminal(stdout)}
	if out == "json" {
		v.out, v.live = cmd.ErrOrStderr(), isTerminal(cmd.ErrOrStderr())
	}
	result, came, err := play(v, newLogger(&said, conf.Log))
	v.line()
	switch {
	case err == nil:
	case cmd.Context().Err() != nil:
		err = errInterrupted // what it was cut off in is of no use to anybody
	default:
		said.tell(cmd.ErrOrStderr())
	}
	switch {
	case !came:
		return err
	case out == "json":
		if jerr := json.NewEncoder(stdout).Encode(result); jerr != nil {
			return jerr
		}
		return err
	}
	fmt.Fprintln(stdout)
	if perr := result.Print(stdout); perr != nil {
		return perr
	}
	return err
}

// transcript keeps the beginning of what is logged.
type transcript struct {
	mu   sync.Mutex
	kept bytes.Buffer
	lost int // lines that did not fit
}

const mostKept = 1 << 20

func (t *transcript) Write(line []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept.Len()+len(line) > mostKept {
		t.lost++
		return len(line), nil
	}
	return t.kept.Write(line)
}

func (t *transcript) tell(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprint(w, t.kept.String())
	if t.lost > 0 {
		fmt.Fprintf(w, "and %d lines more\n", t.lost)
	}
}

// viewer prints what happens, line by line; progress stays on one line of a terminal.
type viewer struct {
	mu   sync.Mutex
	out  io.Writer
	live bool
	open bool // a line of progress is not ended
	last int  // tenth of the progress printed last, where it is no terminal
}

func (v *viewer) Say(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.say(format, args...)
}

func (v *viewer) say(format string, args ...any) {
	if v.open {
		fmt.Fprintln(v.out)
		v.open = false
	}
	fmt.Fprintf(v.out, format+"\n", args...)
}

func (v *viewer) line() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open {
		fmt.Fprintln(v.out)
		v.open = false
	}
}

func (v *viewer) Progress(what string, done, total int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if total == 0 {
		return
	}
	if v.live {
		fmt.Fprintf(v.out, "\r\033[K  %s %d of %d events (%d%%)", what, done, total, 100*done/total)
		v.open = true
		return
	}
	if tenth := int(10 * done / total); tenth != v.last {
		v.last = tenth
		v.say("  %s %d of %d events", what, done, total)
	}
}

func (v *viewer) Finding(s stage.Sighting) {
	f := s.Finding
	v.Say("  %s  finding  %-15s %s", s.At.Format("15:04:05.000"), f.Detector, printable(f.Reason))
}

func (v *viewer) Outcome(s stage.Sighting) {
	o := s.Outcome
	detail := o.Detail
	if detail != "" {
		detail = ": " + detail
	}
	v.Say("  %s  action   %-15s %s for %s%s", s.At.Format("15:04:05.000"), o.Action.Kind, o.Status, printable(o.Action.Target.Agent), printable(detail))
}

var _ stage.Viewer = (*viewer)(nil)
