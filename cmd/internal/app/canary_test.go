package app

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// TestCanary sends canaries through ingest, detect, triage and executor over
// embedded parts. While detect is away a person is paged.
func TestCanary(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	var mu sync.Mutex
	var pages []string
	pager := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		check(t, err)
		var e struct {
			Type string
			Data struct{ Incident, Reason string }
		}
		check(t, json.Unmarshal(body, &e))
		mu.Lock()
		defer mu.Unlock()
		pages = append(pages, e.Type+" "+e.Data.Incident+": "+e.Data.Reason)
	}))
	t.Cleanup(pager.Close)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	check(t, os.WriteFile(secret, []byte("whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 24))), 0o600))
	cfg, err := Load("", nil, []string{"up.dir=" + filepath.Join(dir, "data"), "up.kafka=127.0.0.1:0", "up.nats=127.0.0.1:0", "http.listen=", "topics.partitions=2",
		"store.url=http://127.0.0.1:1", "canary.within=20s", "page.url=" + pager.URL, "page.secret_file=" + secret})
	check(t, err)
	l, cfg, err := StartLocal(t.Context(), cfg, log)
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	start := func(roles ...Role) (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- Run(ctx, cfg, log, roles...) }()
		stop = sync.OnceFunc(func() { cancel(); check(t, <-done) })
		t.Cleanup(stop)
		return stop
	}
	start(Ingest, Triage, Executor)

	p := &process{cfg: cfg, log: log, reg: prometheus.NewRegistry()}
	p.client, err = stream.Open(cfg.Kafka, p.reg, log)
	check(t, err)
	t.Cleanup(p.client.Close)
	check(t, p.client.EnsureTopics(t.Context(), cfg.Topics.All()...))
	check(t, p.withCanary(func(c *canary) error {
		rounds := func(closed, late float64) {
			t.Helper()
			if got := [2]float64{testutil.ToFloat64(c.rounds.WithLabelValues("closed")), testutil.ToFloat64(c.rounds.WithLabelValues("late"))}; got != [2]float64{closed, late} {
				t.Errorf("rounds closed and late are %v, want %v, %v", got, closed, late)
			}
		}
		c.cfg.Within = 2 * time.Second
		if err := c.round(t.Context()); !errors.Is(err, ErrCanary) || !strings.Contains(err.Error(), "nothing was decided about it") {
			t.Errorf("with detect stopped the round ends with %v", err)
		}
		rounds(0, 1)
		mu.Lock()
		if len(pages) != 1 || !strings.HasPrefix(pages[0], "stakeout.page stakeout-canary: the canary sent at") {
			t.Errorf("pages are %q", pages)
		}
		mu.Unlock()

		stop := start(Detect)
		c.cfg.Within = 20 * time.Second
		began := time.Now()
		if err := c.round(t.Context()); err != nil {
			return err
		}
		t.Logf("with detect started the round took %s", time.Since(began).Round(time.Millisecond))
		rounds(1, 1)
		if c.paged {
			t.Error("the page is not taken back")
		}
		for began.Unix() == time.Now().Unix() { // in the same second it would be the same canary
			time.Sleep(10 * time.Millisecond)
		}
		began = time.Now()
		if err := c.round(t.Context()); err != nil {
			return err
		}
		t.Logf("the next one took %s", time.Since(began).Round(time.Millisecond))

		// All the way it is known from which raw topic the line was read.
		s, err := c.js.Stream(t.Context(), command.Actions)
		check(t, err)
		m, err := s.GetLastMsgForSubject(t.Context(), command.OutcomeSubject("*"))
		check(t, err)
		o, err := command.ParseOutcome(c.trust, command.Message{Subject: m.Subject, Header: m.Header, Data: m.Data})
		check(t, err)
		if o.Action.Kind != command.Canary || o.Action.Source != cfg.Topics.Raw[0] {
			t.Errorf("the action is %s and says the line came from %q", o.Action.Kind, o.Action.Source)
		}
		waitUntilJudged(t, p, 3)
		stop()
		testForgotten(t, p)
		return nil
	}))
}

// waitUntilJudged waits until detection has taken in all events, and so many times that
// a canary is to be forgotten.
func waitUntilJudged(t *testing.T, p *process, forgets int) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		told, behind := 0, int64(0)
		ranges, err := p.client.Offsets(t.Context(), p.cfg.Topics.Events)
		check(t, err)
		far, err := p.client.Progress(t.Context(), p.cfg.Groups.Detect, p.cfg.Topics.Events)
		check(t, err)
		for n, r := range ranges {
			behind += r.Next - max(far[n], 0)
			_, err := p.client.ReadPartition(t.Context(), p.cfg.Topics.Events, n, -1, func(r *stream.Record) error {
				for _, h := range r.Headers {
					if h.Key == OperationHeader && string(h.Value) == string(detect.Forget) {
						told++
					}
				}
				return nil
			})
			check(t, err)
		}
		if told == forgets && behind == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d canaries are to be forgotten, want %d; %d events are not judged", told, forgets, behind)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// testForgotten looks for canaries among the profiles.
func testForgotten(t *testing.T, p *process) {
	t.Helper()
	there := map[string]bool{}
	for n := range p.cfg.Topics.Partitions {
		_, err := p.client.ReadPartition(t.Context(), p.cfg.Topics.Profiles, n, -1, func(r *stream.Record) error {
			if there[string(r.Key)] = r.Value != nil; r.Value == nil {
				delete(there, string(r.Key))
			}
			return nil
		})
		check(t, err)
	}
	if len(there) != 0 {
		t.Errorf("profiles are kept of %v", slices.Collect(maps.Keys(there)))
	}
}

func TestCanaryConfig(t *testing.T) {
	f := func(want string, c CanaryConfig) {
		t.Helper()
		if err := c.Validate(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	f("", DefaultCanaryConfig())
	f("", CanaryConfig{Within: time.Hour})
	f("every: is 1ms", CanaryConfig{Every: time.Millisecond, Within: time.Second})
	f("within: is 1h0m0s", CanaryConfig{Every: time.Minute, Within: time.Hour})
	f("within: is 0s", CanaryConfig{})
}
