package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage"
	"github.com/stakeout-project/stakeout/triage/command"
	"github.com/stakeout-project/stakeout/triage/posture"
)

// TestRefusal hands findings to triage and calls the gateway as the agents they
// are about, until it refuses.
func TestRefusal(t *testing.T) {
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	n, err := local.StartNATS(local.NATSConfig{Dir: filepath.Join(t.TempDir(), "nats"), Listen: "127.0.0.1:0"}, log)
	check(err)
	t.Cleanup(n.Close)
	as := func(r local.NATSRole) command.NATSConfig {
		return command.NATSConfig{URL: n.URL(), SeedFile: n.SeedFile(r), InboxPrefix: n.InboxPrefix(r)}
	}
	run := func(f func(context.Context) error) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- f(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	tc := triage.DefaultConfig()
	tc.NATS, tc.SigningKey, tc.Trust.Triage = as(local.TriageRole), n.SigningFile(local.TriageRole), []string{n.SigningKey(local.TriageRole)}
	tr, err := triage.New(tc, triage.Policy{
		Budgets: map[command.Kind]triage.Budget{command.RevokeToken: {Max: 1000, Per: time.Hour}},
		Entries: []triage.Entry{{Name: "contain", Ladder: []triage.Step{{Kind: command.RevokeToken, Mode: command.Auto}, {Kind: command.Page, Mode: command.Auto}}}},
	}, nil, prometheus.NewRegistry(), log)
	check(err)
	t.Cleanup(tr.Close)
	run(tr.Run)

	pc := posture.DefaultConfig()
	pc.NATS, pc.Trust = as(local.GatewayRole), tc.Trust
	feed, err := posture.New(pc, prometheus.NewRegistry(), log)
	check(err)
	run(feed.Run)
	tool := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	srv := httptest.NewServer(gate(feed, "Stakeout-Agent", tool))
	t.Cleanup(srv.Close)
	call := func(method, agent string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL, nil)
		check(err)
		req.Header.Set("Stakeout-Agent", agent)
		res, err := srv.Client().Do(req)
		check(err)
		check(res.Body.Close())
		return res.StatusCode, res.Header.Get("Stakeout-Incident")
	}
	for end := time.Now().Add(10 * time.Second); feed.Ready() != nil; {
		if code, _ := call(http.MethodPost, "clerk"); code != http.StatusForbidden && feed.Ready() != nil {
			t.Fatalf("before triage was heard of, a call that changes the world answers %d", code)
		}
		if time.Now().After(end) {
			t.Fatal(feed.Ready())
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}

	p, err := tr.Open(t.Context(), stream.Owned{Topic: "stakeout.findings"})
	check(err)
	var delays []time.Duration
	for i := range 50 {
		agent := "agent-" + string(rune('A'+i/10)) + string(rune('0'+i%10))
		if code, _ := call(http.MethodPost, agent); code != http.StatusNoContent {
			t.Fatalf("%s is refused (%d) before anything was found about it", agent, code)
		}
		value, err := json.Marshal(detect.Finding{ID: "first_use/" + agent, Detector: "first_use", Severity: detect.High, Time: event.At(time.Now()), Agent: agent,
			Session: "s", Credential: detect.Credential{ID: "jti-" + agent}, Reason: agent + " exercised treasury:transfer for the first time"})
		check(err)
		found := time.Now()
		done := make(chan error, 1)
		go func() {
			done <- p.Process(context.Background(), []stream.Record{{Topic: "stakeout.findings", Key: []byte(agent), Value: value}})
		}()
		for end := found.Add(5 * time.Second); ; {
			code, incident := call(http.MethodPost, agent)
			if code == http.StatusForbidden {
				if incident == "" {
					t.Errorf("%s is refused without naming an incident", agent)
				}
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s is not refused: %d", agent, code)
			}
		}
		delays = append(delays, time.Since(found))
		check(<-done)
		if code, _ := call(http.MethodGet, agent); code != http.StatusNoContent {
			t.Errorf("%s, restricted but not yet contained, may not read: %d", agent, code)
		}
	}
	slices.Sort(delays)
	p50, worst := delays[len(delays)/2], delays[len(delays)-1]
	t.Logf("from a finding to the first refused call: p50 %s, worst of %d %s", p50, len(delays), worst)
	if worst > time.Second {
		t.Errorf("the worst delay is %s, want less than a second", worst)
	}
}
