package triage

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

var errCrash = errors.New("crash")

// crashAfter ends the work of tr at its n-th point. It returns the points passed.
func crashAfter(tr *Triage, n int) *[]string {
	var passed []string
	tr.at = func(point string) error {
		passed = append(passed, point)
		if len(passed) >= n {
			return fmt.Errorf("at point %d, %s: %w", n, point, errCrash)
		}
		return nil
	}
	return &passed
}

// story is what happens to one agent from its findings to an answer that
// escalates: every kind of write is in it.
func story(w *world, fs []detect.Finding) (do func(*Triage) error) {
	return func(tr *Triage) error {
		if err := w.feed(tr, fs...); err != nil {
			return err
		}
		b, err := tr.connect(context.Background())
		if err != nil {
			return err
		}
		h := w.history()
		for _, a := range h.commands {
			if a.Kind != command.RevokeToken {
				continue
			}
			m, err := command.EncodeAck(w.signer(local.ExecutorRole), command.Ack{Action: a.ID, Status: command.Unverified, Detail: "still there"})
			if err != nil {
				return err
			}
			if err := tr.hearAck(context.Background(), b, command.FromMsg(m)); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestCrashAtEveryPoint(t *testing.T) {
	points := map[string]bool{}
	for n := 1; ; n++ {
		w := newWorld(t)
		w.policy.Budgets = map[command.Kind]Budget{command.RevokeToken: {Max: 2, Per: time.Hour}, command.Page: {Max: 2, Per: time.Hour}}
		w.policy.Cooldown = time.Minute
		fs := []detect.Finding{w.finding("a", 1), w.finding("b", 1), w.finding("a", 2), w.finding("c", 1)}
		do := story(w, fs)
		tr := w.triage()
		passed := crashAfter(tr, n)
		err := do(tr)
		tr.Close()
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		for _, p := range *passed {
			points[p] = true
		}
		if e := do(w.triage()); e != nil {
			t.Fatalf("after %v: %v", err, e)
		}
		h := w.wantOnce()
		got := fmt.Sprint(h.statuses(command.RevokeToken, "a"), ", ", h.statuses(command.RevokeToken, "b"), ", ", h.statuses(command.RevokeToken, "c"), ", ", len(h.commands))
		if want := "commanded unverified, commanded unverified, held, 4"; got != want {
			t.Errorf("after %v: %s; want %s", err, got, want)
		}
		if t.Failed() || err == nil {
			t.Logf("%d points of %d kinds: %v", n-1, len(points), points)
			return
		}
		w.nats.Close()
	}
}

// When the window in which JetStream drops duplicates has passed, a crash right
// after a publish must still not lead to a second one.
func TestCrashOutlivesTheDuplicateWindow(t *testing.T) {
	for _, point := range []string{"published", "settled"} { // after a command, after its outcome
		w := newWorld(t)
		tr := w.triage()
		_, err := tr.connect(t.Context())
		w.must(err)
		js := w.js(local.TriageRole)
		s, err := js.Stream(t.Context(), command.Actions)
		w.must(err)
		cfg := s.CachedInfo().Config
		cfg.Duplicates = 100 * time.Millisecond
		_, err = js.UpdateStream(t.Context(), cfg)
		w.must(err)
		tr.at = func(p string) error {
			if p == point {
				return errCrash
			}
			return nil
		}
		f := w.finding("a", 1)
		if err := w.feed(tr, f); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		tr.Close()
		w.expireDuplicates(js)
		w.must(w.feed(w.triage(), f))
		if h := w.wantOnce(); h.statuses(command.RevokeToken, "a") != "commanded" || len(h.commands) != 1 {
			t.Errorf("%s: statuses %q, commands %v", point, h.statuses(command.RevokeToken, "a"), h.commands)
		}
	}
}

// expireDuplicates waits until the stream has forgotten the ids it knows.
func (w *world) expireDuplicates(js jetstream.JetStream) {
	w.Helper()
	m := nats.NewMsg(command.OutcomeSubject("probe"))
	m.Header.Set(nats.MsgIdHdr, "probe")
	_, err := js.PublishMsg(context.Background(), m)
	w.must(err)
	w.eventually(func() error {
		m.Header.Set(nats.MsgIdHdr, "probe")
		ack, err := js.PublishMsg(context.Background(), m)
		w.must(err)
		if ack.Duplicate {
			return errors.New("the stream still knows its duplicates")
		}
		return nil
	})
}
