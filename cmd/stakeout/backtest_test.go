package main_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	embedded "github.com/stakeout-project/stakeout/deploy/local"
)

// ruleFile writes detection rules with the given detectors.
func ruleFile(t testing.TB, version string, detectors ...string) string {
	t.Helper()
	text := "version: " + version + "\nbudget: 0.01\ndetectors:\n"
	for _, d := range detectors {
		text += "  " + d + ":\n    share: 0.2\n    prior: {surprises: 0.05, days: 45}\n"
	}
	file := filepath.Join(t.TempDir(), version+".yaml")
	check(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestBacktestCompare(t *testing.T) {
	f := simulated(t, 12, 16, "--seed", "3", "--threats", "privilege-drift,confused-deputy")
	a, b := ruleFile(t, "old", "first_use", "entitlement"), ruleFile(t, "new", "entitlement", "memory")
	type change struct{ Detector, Agent, Session, Event, Reason string }
	var c struct {
		Events    int
		Detectors map[string]map[string]int
		Added     []change
		Removed   []change
		Kept      []change
	}
	check(t, json.Unmarshal([]byte(must(t, "backtest", "--compare", a, b, f.file, "--format", "json")), &c))
	if c.Events != f.lines || c.Detectors["first_use"]["removed"] == 0 || c.Detectors["first_use"]["kept"] != 0 || c.Detectors["entitlement"]["kept"] == 0 {
		t.Errorf("%d events of %d, %v; want what first_use found removed and what entitlement found kept", c.Events, f.lines, c.Detectors)
	}
	if len(c.Removed) != c.Detectors["first_use"]["removed"]+c.Detectors["entitlement"]["removed"] || c.Removed[0].Agent == "" || c.Removed[0].Event == "" || c.Removed[0].Reason == "" {
		t.Errorf("removed %+v, want each with agent, event and reason", c.Removed)
	}
	text := must(t, "backtest", "--compare", a, b, f.file)
	for _, want := range []string{"A  old: ", "B  new: ", "first_use", "removed  ", c.Removed[0].Reason} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if r := stakeout(t, append([]string{"backtest"}, args...)...); r.code != 1 || !strings.Contains(r.err, want) {
			t.Errorf("stakeout backtest %v: exit status %d, %s; want %s", args, r.code, r.err, want)
		}
	}
	refused("want two files of detection rules", "--compare", a)
	refused("want files of events, or --kafka", "--compare", a, b)
	refused("want files of events, or --kafka")
	refused("reads Kafka instead of", "--kafka", f.file)
	refused("want --kafka too", "--from", "0", f.file)
	refused("--from: is \"soon\", want an offset", "--kafka", "--from", "soon")
	refused("goes without --findings", "--compare", "--findings", "f", a, b, f.file)
	refused("--warmup-until: is \"soon\", want a time", "--warmup-until", "soon", f.file)
	refused("no answer of 127.0.0.1:1 (kafka.brokers)", "--kafka", "--patience", "100ms", "--set", "kafka.brokers=127.0.0.1:1")
	refused("is a directory, want a file", filepath.Dir(f.file))
	refused("goes without --peers", "--compare", "--peers", "p", a, b, f.file)
	refused("besides the two files of rules", "--compare", a, f.file)
	refused("no such file", "--compare", a, filepath.Join(t.TempDir(), "none.yaml"), f.file)
}

// TestNothingIsWrittenOver names what is read, or written already, as what is to be written.
func TestNothingIsWrittenOver(t *testing.T) {
	f := simulated(t, 2, 1, "--threats", "none")
	before := lines(t, f.file)
	file := ruleFile(t, "rules", "first_use")
	link, fresh := filepath.Join(t.TempDir(), "link"), filepath.Join(t.TempDir(), "fresh")
	check(t, os.Symlink(f.file, link))
	for _, args := range [][]string{
		{"backtest", "--findings", f.file, f.file}, {"backtest", "--findings", link, f.file}, {"backtest", "--peers", f.file, f.file},
		{"backtest", "--set", "rules.detection=" + file, "--findings", file, f.file}, {"backtest", "--findings", fresh, "--peers", fresh, f.file},
		{"backtest", "--warmup-until", "2026-01-05T12:00:00Z", "--set", "rules.peers=" + file, "--findings", file, f.file},
		{"simulate", "--out", fresh, "--labels", fresh},
	} {
		if r := stakeout(t, args...); r.code != 1 || r.out != "" || !strings.Contains(r.err, "would be written over, want another file") {
			t.Errorf("stakeout %v: exit status %d, %s%s; want it refused", args, r.code, r.out, r.err)
		}
	}
	if diff := cmp.Diff(before, lines(t, f.file)); diff != "" {
		t.Errorf("the log before and after (-before +after):\n%s", diff)
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Errorf("%s was made for a command that was refused", fresh)
	}
}

// TestBacktestOfNothing reads what holds no event: an empty file is no mistake, and
// one in which no line is an event is.
func TestBacktestOfNothing(t *testing.T) {
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "events.jsonl")
		check(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	var r struct {
		Events int
		Notes  []string
	}
	check(t, json.Unmarshal([]byte(must(t, "backtest", "--format", "json", write(""))), &r))
	if r.Events != 0 || len(r.Notes) != 1 {
		t.Errorf("of an empty file: %+v, want a note that there are no events", r)
	}
	if r := stakeout(t, "backtest", write("{}\nx\n")); r.code != 1 || !strings.Contains(r.err, "events.jsonl:1: ") || !strings.Contains(r.err, "gen_ai.agent.id") {
		t.Errorf("of no events: exit status %d, %s; want the first line named, and what is wanted", r.code, r.err)
	}
}

// TestBacktestKafka learns peers from what Kafka holds, and finds in it what it
// finds in the file.
func TestBacktestKafka(t *testing.T) {
	f := simulated(t, 12, 16, "--seed", "3", "--threats", "privilege-drift,confused-deputy")
	conf := embedded.DefaultKafkaConfig()
	conf.Dir, conf.Listen = "", "127.0.0.1:0"
	k, err := embedded.StartKafka(conf, slog.New(slog.NewTextHandler(t.Output(), nil)))
	check(t, err)
	t.Cleanup(func() { check(t, k.Close()) })
	client := consumer(t, k.Addr(), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.DefaultProduceTopic("stakeout.events"))
	topics := kmsg.NewCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "stakeout.events", 4, 1
	topics.Topics = append(topics.Topics, topic)
	_, err = topics.RequestWith(t.Context(), client)
	check(t, err)
	start := time.Now().Add(-time.Hour)
	var batch []*kgo.Record
	for i, line := range lines(t, f.file) {
		var ev struct {
			Agent string `json:"gen_ai.agent.id"`
		}
		check(t, json.Unmarshal([]byte(line), &ev))
		batch = append(batch, &kgo.Record{Key: []byte(ev.Agent), Value: []byte(line), Timestamp: start.Add(time.Duration(i) * time.Millisecond)})
	}
	check(t, client.ProduceSync(t.Context(), batch...).FirstErr())

	type report struct {
		Events    int
		Findings  int
		AgentDays float64 `json:"agent_days"`
		Detectors map[string]map[string]int
		Groups    map[string]map[string]float64
		Maturity  map[string]map[string]float64
	}
	run := func(args ...string) (r report) {
		t.Helper()
		check(t, json.Unmarshal([]byte(must(t, append([]string{"backtest", "--format", "json"}, args...)...)), &r))
		return r
	}
	reach := "kafka.brokers=" + k.Addr()
	want, got := run(f.file), run("--kafka", "--set", reach)
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-9, 0)); diff != "" || got.Findings == 0 || len(got.Groups) == 0 {
		t.Errorf("from the file and from Kafka (-file +kafka):\n%s", diff)
	}
	inFile, inKafka := filepath.Join(t.TempDir(), "file.jsonl"), filepath.Join(t.TempDir(), "kafka.jsonl")
	run(f.file, "--findings", inFile)
	run("--kafka", "--set", reach, "--findings", inKafka)
	if diff := cmp.Diff(lines(t, inFile), lines(t, inKafka)); diff != "" || len(lines(t, inFile)) != want.Findings {
		t.Errorf("findings from the file and from Kafka, %d of each (-file +kafka):\n%s", want.Findings, diff)
	}
	half := start.Add(time.Duration(f.lines/2) * time.Millisecond).UTC().Format(time.RFC3339Nano)
	before, after := run("--kafka", "--set", reach, "--to", half), run("--kafka", "--set", reach, "--from", half)
	if before.Events+after.Events != f.lines || before.Events < f.lines/2-1 || before.Events > f.lines/2+1 {
		t.Errorf("%d events before the middle and %d after it, want %d together", before.Events, after.Events, f.lines)
	}
	peers := filepath.Join(t.TempDir(), "peers.json")
	run("--kafka", "--set", reach, "--from", "-2h", "--peers", peers)
	if out := must(t, "config", "--set", "rules.peers="+peers); !strings.Contains(out, peers) {
		t.Errorf("no %s in the configuration\n%s", peers, out)
	}
	var learned struct {
		Groups map[string]struct{ Sessions, Bar, Rate float64 }
	}
	text, err := os.ReadFile(peers)
	check(t, err)
	check(t, json.Unmarshal(text, &learned))
	if len(learned.Groups) == 0 {
		t.Errorf("peers learned: %+v, want groups", learned)
	}
	testPeersInForce(t, f, peers)
}

// testPeersInForce judges by the peers that the configuration names, as in production,
// and learns others also where those cannot be read.
func testPeersInForce(t *testing.T, f fleet, peers string) {
	findings := filepath.Join(t.TempDir(), "findings.jsonl")
	var r struct{ Notes []string }
	check(t, json.Unmarshal([]byte(must(t, "backtest", "--format", "json", "--set", "rules.peers="+peers, "--findings", findings, f.file)), &r))
	if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "rules.peers") }) {
		t.Errorf("no note tells which peers are in force: %q", r.Notes)
	}
	for _, line := range lines(t, findings) {
		var found struct{ Rules string }
		check(t, json.Unmarshal([]byte(line), &found))
		if !strings.Contains(found.Rules, "+peers-") {
			t.Errorf("a finding is made under %q, want the peers named", found.Rules)
		}
	}
	broken := filepath.Join(t.TempDir(), "broken.json")
	check(t, os.WriteFile(broken, []byte("{}"), 0o600))
	if r := stakeout(t, "backtest", "--set", "rules.peers="+broken, f.file); r.code != 1 || !strings.Contains(r.err, broken) {
		t.Errorf("with peers that cannot be read: exit status %d, %s", r.code, r.err)
	}
	must(t, "backtest", "--set", "rules.peers="+broken, "--peers", filepath.Join(t.TempDir(), "new.json"), f.file)
}
