package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stakeout-project/stakeout/deploy/kafka"
	"github.com/stakeout-project/stakeout/detect"
)

// TestPipeline sends a fleet's logs through everything, and looks at every place
// where something has to come out.
func TestPipeline(t *testing.T) {
	engine(t)
	t.Run("embedded", func(t *testing.T) { testPipeline(t, settings{}) })
	t.Run("real", func(t *testing.T) {
		testPipeline(t, settings{"kafka": settings{"brokers": []string{apache(t)}}})
	})
}

// apache starts a real Kafka broker, or skips where there is no Java or Maven.
func apache(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	b, err := kafka.Start(ctx, kafka.Options{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		t.Skipf("NOT TESTED AGAINST REAL KAFKA: %v", err)
	}
	check(t, err)
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b.Addr()
}

func testPipeline(t *testing.T, more settings) {
	f := simulated(t, 20, 16, "--seed", "3", "--threats", "privilege-drift,confused-deputy,indirect-prompt-injection,memory-poisoning")
	p := up(t, filepath.Join(t.TempDir(), "data"), more)
	t.Logf("up within %s", p.took.Round(time.Millisecond))
	if n := p.ship(f.file); n != f.lines {
		t.Fatalf("ship acknowledged %d lines, want %d", n, f.lines)
	}
	p.stored(f.lines)
	p.judged(f.lines)
	found := p.findings(t)

	t.Run("findings are the same everywhere", func(t *testing.T) { testFindings(t, p, f, found) })
	t.Run("old findings are only shadowed", func(t *testing.T) { testShadowed(t, p, found) })
	t.Run("every agent has a profile", func(t *testing.T) { testAgents(t, p, f) })
	t.Run("health and metrics", func(t *testing.T) { testHealth(t, p, f, len(found)) })
	p.stop()
}

// findings reads the findings topic; each finding is in it once.
func (p *pipeline) findings(t testing.TB) map[string]finding {
	t.Helper()
	found := map[string]finding{}
	for _, r := range records(t, p.kafka, "stakeout.findings") {
		var f finding
		check(t, json.Unmarshal(r.Value, &f))
		if _, again := found[f.ID]; again {
			t.Errorf("finding %s is twice in Kafka", f.ID)
		}
		if string(r.Key) != f.Agent {
			t.Errorf("finding %s has the key %q, want its agent %q", f.ID, r.Key, f.Agent)
		}
		found[f.ID] = f
	}
	return found
}

// judged waits until so many events are judged, and findings and what was done
// about them stored.
func (p *pipeline) judged(events int) {
	p.t.Helper()
	eventually(p.t, time.Minute, func() error {
		if n := p.metric("stakeout_detect_events_total"); n != events {
			return fmt.Errorf("%d events are judged, want %d", n, events)
		}
		return nil
	})
	// What agents share is judged a little later, when all has been told: the facts are
	// in Kafka before an event's offset is committed, and held back until a cut lets them go.
	eventually(p.t, 30*time.Second, func() error {
		if n := behind(p.t, p.kafka, "stakeout-detect", "stakeout.events"); n != 0 {
			return fmt.Errorf("%d events are not behind a checkpoint", n)
		}
		return nil
	})
	eventually(p.t, 30*time.Second, func() error {
		if n := behind(p.t, p.kafka, "stakeout-detect-facts", "stakeout.facts"); n != 0 {
			return fmt.Errorf("%d facts are not read", n)
		}
		if n := p.metric("stakeout_detect_facts_waiting"); n != 0 {
			return fmt.Errorf("%d facts are not judged", n)
		}
		return nil
	})
	findings := len(p.findings(p.t))
	eventually(p.t, 30*time.Second, func() error {
		n, err := p.count("SELECT count() FROM stakeout.findings FINAL")
		if err != nil {
			return err
		}
		if n != findings {
			return fmt.Errorf("%d findings are stored, want %d", n, findings)
		}
		return p.answered()
	})
}

// answered returns an error while there are findings without an incident, incidents
// without an action, or actions without one. What shares a session, or the credential
// that the first one was found with, is one incident.
func (p *pipeline) answered() error {
	incidents, err := p.sql(`SELECT DISTINCT d.incident AS incident FROM (SELECT id FROM stakeout.findings FINAL) AS f
		LEFT JOIN (SELECT finding, incident FROM stakeout.dispositions FINAL) AS d ON d.finding = f.id ORDER BY incident`)
	if err != nil {
		return err
	}
	acted, err := p.sql("SELECT DISTINCT incident FROM stakeout.actions FINAL ORDER BY incident")
	if err != nil {
		return err
	}
	if diff := cmp.Diff(strings.Split(incidents, "\n"), strings.Split(acted, "\n")); diff != "" {
		return fmt.Errorf("incidents of findings and of actions (-findings +actions):\n%s", diff)
	}
	return nil
}

func testFindings(t *testing.T, p *pipeline, f fleet, found map[string]finding) {
	if len(found) == 0 {
		t.Fatal("nothing was found")
	}
	want := slices.Sorted(maps.Keys(found))
	if diff := cmp.Diff(backtest(t, f.file), want); diff != "" {
		t.Errorf("ids that the detectors give for the file and in Kafka (-file +kafka):\n%s", diff)
	}
	var told []string
	for _, g := range answer[finding](t, "findings", "--config", p.file, "--limit", "10000") {
		told = append(told, g.ID)
		if diff := cmp.Diff(found[g.ID], g); diff != "" {
			t.Errorf("finding as Kafka has it and as told (-kafka +told):\n%s", diff)
		}
	}
	slices.Sort(told)
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("ids in Kafka and told (-kafka +told):\n%s", diff)
	}
	if diff := cmp.Diff(want, p.rows("SELECT id FROM stakeout.findings FINAL ORDER BY id")); diff != "" {
		t.Errorf("ids in Kafka and ClickHouse (-kafka +clickhouse):\n%s", diff)
	}

	// Attacks that the shipped detectors are for have to be among them.
	detected := map[string]int{}
	for _, l := range f.labels {
		for _, g := range found {
			if slices.Contains(l.Sessions, g.Session) || slices.ContainsFunc(g.Evidence, func(e string) bool { return slices.Contains(l.Events, e) }) {
				detected[l.Threat]++
				break
			}
		}
	}
	t.Logf("%d findings; of %d attacks detected: %v", len(found), len(f.labels), detected)
	// So short a history need not show every drift.
	for _, threat := range []string{"confused-deputy", "indirect-prompt-injection", "memory-poisoning"} {
		if detected[threat] == 0 {
			t.Errorf("no attack by %s was detected", threat)
		}
	}
}

// testShadowed expects that nothing was done about a fortnight that is over, and
// that what would have been done is told alike by the command, SQL and JetStream.
func testShadowed(t *testing.T, p *pipeline, found map[string]finding) {
	told := map[string]string{}
	for _, o := range answer[outcome](t, "actions", "--config", p.file, "--limit", "10000") {
		if _, again := told[o.Action.ID]; again {
			t.Errorf("action %s is told twice", o.Action.ID)
		}
		told[o.Action.ID] = o.Status
		if o.Status != "shadowed" {
			t.Errorf("action %s about old findings is %s, want shadowed", o.Action.ID, o.Status)
		}
		for _, id := range o.Action.Findings {
			if _, ok := found[id]; !ok {
				t.Errorf("action %s is about finding %s, which there is not", o.Action.ID, id)
			}
		}
	}
	if len(told) == 0 {
		t.Error("no action is told")
	}
	stored := map[string]string{}
	for _, row := range p.rows("SELECT id, status FROM stakeout.actions FINAL") {
		id, status, _ := strings.Cut(row, "\t")
		stored[id] = status
	}
	if diff := cmp.Diff(stored, told); diff != "" {
		t.Errorf("actions in ClickHouse and told (-clickhouse +told):\n%s", diff)
	}
	heard := map[string]string{}
	for _, m := range p.heard(t) {
		if strings.HasPrefix(m.Subject, "stakeout.action.") {
			t.Errorf("a command was sent: %s", m.Subject)
		}
		if o, ok := m.outcome(t); ok {
			heard[o.Action.ID] = o.Status
		}
	}
	if diff := cmp.Diff(stored, heard); diff != "" {
		t.Errorf("actions in ClickHouse and on NATS (-clickhouse +nats):\n%s", diff)
	}
}

// message is one of the ACTIONS stream.
type message struct{ *jetstream.RawStreamMsg }

// outcome reads the data of a CloudEvent that tells what became of an action.
func (m message) outcome(t testing.TB) (o outcome, ok bool) {
	t.Helper()
	if !strings.HasPrefix(m.Subject, "stakeout.outcome.") {
		return outcome{}, false
	}
	var e struct {
		SpecVersion, Type string
		Data              outcome
	}
	check(t, json.Unmarshal(m.Data, &e))
	if e.SpecVersion != "1.0" || e.Type != "dev.stakeout.outcome.v1" {
		t.Errorf("message on %s is a CloudEvent %q of type %q", m.Subject, e.SpecVersion, e.Type)
	}
	return e.Data, true
}

// operator connects to NATS with an operator's key.
func (p *pipeline) operator(t testing.TB) jetstream.JetStream {
	t.Helper()
	n := p.running.Operator.NATS
	login, err := nats.NkeyOptionFromSeed(n.SeedFile)
	check(t, err)
	nc, err := nats.Connect(n.URL, login, nats.CustomInboxPrefix(n.InboxPrefix))
	check(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	check(t, err)
	return js
}

// heard reads the ACTIONS stream from its first message to its last.
func (p *pipeline) heard(t testing.TB) []message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := p.operator(t).Stream(ctx, "ACTIONS")
	check(t, err)
	var all []message
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		check(t, err)
		all = append(all, message{m})
	}
	return all
}

func testAgents(t *testing.T, p *pipeline, f fleet) {
	type agent struct {
		Agent    string `json:"agent"`
		State    string `json:"state"`
		Events   int    `json:"events"`
		Findings int    `json:"findings"`
	}
	var told []string
	events := 0
	eventually(t, 20*time.Second, func() error { // profiles follow their events by a checkpoint
		told, events = nil, 0
		for _, a := range answer[agent](t, "agents", "--config", p.file, "--limit", "10000") {
			told = append(told, a.Agent)
			events += a.Events
		}
		slices.Sort(told)
		if events < f.lines*9/10 {
			return fmt.Errorf("the agents have %d events, want most of %d", events, f.lines)
		}
		return nil
	})
	keys := slices.Sorted(maps.Keys(answer[map[string]any](t, "agents", "--config", p.file, "--limit", "1")[0]))
	if diff := cmp.Diff([]string{"agent", "events", "findings", "first", "last", "latest", "privileges", "risk", "role", "state", "tenant", "worst"}, keys); diff != "" {
		t.Errorf("keys of an agent (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(f.agents, told); diff != "" {
		t.Errorf("agents shipped and told (-shipped +told):\n%s", diff)
	}
	if policy := setting(t, p.kafka, "stakeout.profiles", "cleanup.policy"); policy != "compact" {
		t.Errorf("cleanup.policy of the profiles is %q, want compact", policy)
	}
	latest := map[string]*kgo.Record{}
	for _, r := range records(t, p.kafka, "stakeout.profiles") {
		if len(r.Key) == 0 && r.Value == nil { // an owner's first word, which shuts out those before it
			continue
		}
		if before := latest[string(r.Key)]; before == nil || before.Offset < r.Offset {
			latest[string(r.Key)] = r
		}
	}
	if diff := cmp.Diff(f.agents, slices.Sorted(maps.Keys(latest))); diff != "" {
		t.Errorf("agents shipped and keys of the profiles (-shipped +kafka):\n%s", diff)
	}
	for id, r := range latest {
		s, err := detect.Summarize(id, r.Value)
		if err != nil || s.Events == 0 {
			t.Errorf("profile of %s: %d events, %v", id, s.Events, err)
		}
	}
}

func testHealth(t *testing.T, p *pipeline, f fleet, found int) {
	if status, body := p.get("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz answers %d %s, want 200", status, body)
	}
	status, body := p.get("/readyz")
	var parts map[string]string
	if err := json.Unmarshal([]byte(body), &parts); err != nil || status != http.StatusOK {
		t.Errorf("/readyz answers %d %s, want 200 and an object: %v", status, body, err)
	}
	if diff := cmp.Diff(map[string]string{"kafka": "ok", "nats": "ok", "clickhouse": "ok", "actions": "ok", "executor": "ok"}, parts); diff != "" {
		t.Errorf("/readyz (-want +got):\n%s", diff)
	}
	_, text := p.get("/metrics")
	for _, m := range []struct {
		name, label string
		want        int
	}{
		{"stakeout_ingest_records_total", "", f.lines},
		{"stakeout_ingest_events_total", "", f.lines},
		{"stakeout_ingest_rejects_total", "", 0},
		{"stakeout_ingest_panics_total", "", 0},
		{"stakeout_detect_events_total", "", f.lines},
		{"stakeout_detect_repeats_total", "", 0},
		{"stakeout_detect_findings_total", "", found},
		{"stakeout_detect_agents", "", len(f.agents)},
		{"stakeout_triage_findings_total", `result="new"`, found},
		{"stakeout_store_rows_total", `table="events"`, f.lines},
		{"stakeout_store_rows_total", `table="findings"`, found},
		{"stakeout_store_refused_total", "", 0},
	} {
		if got := sum(t, text, m.name, m.label); got != m.want {
			t.Errorf("%s{%s} is %d, want %d", m.name, m.label, got, m.want)
		}
	}
}
