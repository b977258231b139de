package backtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

const operationKey = "operation"

// broker starts a Kafka with a topic of four partitions, and returns a client.
func broker(t *testing.T) *stream.Client {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	conf := local.DefaultKafkaConfig()
	conf.Dir, conf.Listen = "", "127.0.0.1:0"
	k, err := local.StartKafka(conf, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	reach := stream.DefaultConfig()
	reach.Brokers = []string{k.Addr()}
	client, err := stream.Open(reach, prometheus.NewRegistry(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.EnsureTopics(t.Context(), stream.Topic{Name: "events", Partitions: 4}); err != nil {
		t.Fatal(err)
	}
	return client
}

// fill puts the lines of a file into the topic, as many seconds after start as
// their place says, each agent's into one partition.
func fill(t *testing.T, client *stream.Client, file string, start time.Time) (lines int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.NewProducer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var d event.Decoder
	var ev event.Event
	for line := range strings.Lines(string(text)) {
		key := "none"
		if d.Decode([]byte(line), &ev) == nil {
			key = ev.Agent
			ev.ID = fmt.Sprintf("events.jsonl/%d", lines+1)
			line = string(ev.AppendJSON(nil))
		}
		out.AppendAt(start.Add(time.Duration(lines)*time.Second), "events", -1, []byte(key), []byte(line))
		lines++
	}
	if err := out.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestKafkaTellsWhatFilesTell(t *testing.T) {
	cfg := world(t)
	client := broker(t)
	start := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	lines := fill(t, client, cfg.Files[0], start)
	want, err := Run(t.Context(), cfg, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	open := func(from, to Position) *Range {
		t.Helper()
		r, err := OpenRange(t.Context(), client, "events", operationKey, from, to)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	end := Position{Offset: 1 << 40}
	cfg.Files, cfg.Kafka = nil, open(Position{}, end)
	read := 0
	got, err := Run(t.Context(), cfg, func(n int) { read += n })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Report{}, "Seconds", "EventsPerSec", "BytesPerAgent", "FirstRejected")); diff != "" {
		t.Errorf("from a file and from Kafka (-file +kafka):\n%s", diff)
	}
	if read != lines || cfg.Kafka.Records() != int64(lines) {
		t.Errorf("%d records of %d, want %d", read, cfg.Kafka.Records(), lines)
	}

	at := func(n int) Position { return Position{Time: start.Add(time.Duration(n) * time.Second)} }
	for _, c := range []struct {
		from, to Position
		want     int64
	}{
		{Position{}, at(100), 100},
		{at(100), end, int64(lines) - 100},
		{at(100), at(200), 100},
		{at(-5), at(lines + 5), int64(lines)},
		{at(200), at(100), 0},
		{Position{Offset: 10}, Position{Offset: 30}, 4 * 20},
	} {
		r := open(c.from, c.to)
		if r.Records() != c.want {
			t.Errorf("%d records from %v to %v, want %d", r.Records(), c.from, c.to, c.want)
		}
		cfg.Kafka, cfg.WarmupUntil = r, time.Time{}
		rep, err := Run(t.Context(), cfg, func(int) {})
		if err != nil || rep.Events+rep.Rejected != c.want {
			t.Errorf("%d events and %d rejected, error %v; want %d", rep.Events, rep.Rejected, err, c.want)
		}
	}

	t.Run("ends with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cfg.Kafka = open(Position{}, end)
		_, err := Run(ctx, cfg, func(int) { cancel() })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that it was cancelled", err)
		}
	})
}

// TestOperationsAreObeyed puts a decision of a person into the log: it is no event.
func TestOperationsAreObeyed(t *testing.T) {
	client := broker(t)
	out, err := client.NewProducer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ev := event.Event{Time: event.At(time.Now()), Name: event.ConfigChange, Agent: "clerk", ID: "1"}
	out.Append("events", 0, []byte("clerk"), ev.AppendJSON(nil), stream.Header{Key: operationKey, Value: []byte("reset")})
	out.Append("events", 1, []byte("clerk"), ev.AppendJSON(nil), stream.Header{Key: event.SourceHeader, Value: nil})
	if err := out.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRange(t.Context(), client, "events", operationKey, Position{}, Position{Offset: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	cfg := world(t)
	cfg.Files, cfg.Kafka = nil, r
	rep, err := Run(t.Context(), cfg, func(int) {})
	if err != nil || rep.Events != 1 || rep.Rejected != 1 || rep.Agents != 0 {
		t.Errorf("report %+v, error %v; want one operation and one reject", rep, err)
	}
}

// TestWhatIsNotTrustedIsNoNorm strews what anybody may say of the clerks between their own
// lines: what is learned of their peers, and how their sessions are told apart, stays the same.
func TestWhatIsNotTrustedIsNoNorm(t *testing.T) {
	cfg := world(t)
	text, err := os.ReadFile(cfg.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	cfg.Files, cfg.Trust = nil, func(topic, _, _ string) bool { return topic == "raw.clerks" }
	learned := func(forged bool) (r Report, peers string) {
		t.Helper()
		client := broker(t)
		out, err := client.NewProducer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var d event.Decoder
		var ev event.Event
		n := int64(0)
		put := func(topic string) {
			n++
			src := event.Source{Topic: topic, Offset: n}
			out.Append("events", -1, []byte(ev.Agent), ev.AppendJSON(nil), stream.Header{Key: event.SourceHeader, Value: src.AppendBinary(nil)})
		}
		for line := range strings.Lines(string(text)) {
			if d.Decode([]byte(line), &ev) != nil {
				continue
			}
			ev.ID = fmt.Sprint(n)
			put("raw.clerks")
			if forged && ev.Name == event.ToolCall {
				ev.ID, ev.Tool, ev.Effect = "said "+ev.ID, "transfer", event.Money
				ev.ArgOrigins = event.Object[event.Origin]{{Key: "to", Value: event.FromUntrusted}}
				put("raw.public")
			}
		}
		if err := out.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if cfg.Kafka, err = OpenRange(t.Context(), client, "events", operationKey, Position{}, Position{Offset: 1 << 40}); err != nil {
			t.Fatal(err)
		}
		cfg.Peers = func(p *detect.Peers) error {
			text, err := json.Marshal(p)
			peers = string(text)
			return err
		}
		if r, err = Run(t.Context(), cfg, func(int) {}); err != nil {
			t.Fatal(err)
		}
		return r, peers
	}
	alone, want := learned(false)
	told, got := learned(true)
	if want != got {
		t.Errorf("%d bytes are learned of the clerks by themselves, %d others where anybody may tell of them", len(want), len(got))
	}
	if alone.Findings == 0 || told.Findings <= alone.Findings {
		t.Errorf("%d findings of the clerks, %d with what was said of them; want some, and more", alone.Findings, told.Findings)
	}
	for name, f := range alone.Folds {
		if told.Folds[name].AUC != f.AUC {
			t.Errorf("%s: AUC %v, want %v as by themselves", name, told.Folds[name].AUC, f.AUC)
		}
	}
}

func TestParsePosition(t *testing.T) {
	now := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	f := func(s string, want Position) {
		t.Helper()
		if got, err := ParsePosition(s, now); err != nil || got != want {
			t.Errorf("ParsePosition(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	f("0", Position{})
	f("1234", Position{Offset: 1234})
	f("-24h", Position{Time: now.Add(-24 * time.Hour)})
	f("2026-01-31T12:00:00Z", Position{Time: now.Add(-24 * time.Hour)})
	for _, s := range []string{"", "-1", "24h", "yesterday", "2026-01-31"} {
		if got, err := ParsePosition(s, now); err == nil || !strings.Contains(err.Error(), "want an offset") {
			t.Errorf("ParsePosition(%q) = %v, %v; want a refusal", s, got, err)
		}
	}
}

func TestStrata(t *testing.T) {
	r, err := Run(t.Context(), world(t), func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"clerk"}, slices.Collect(maps.Keys(r.Groups))); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	var split Stratum
	for _, s := range r.Maturity {
		split.AgentDays += s.AgentDays
		split.Findings += s.Findings
		split.False += s.False
		split.Budgeted += s.Budgeted
		split.Risked += s.Risked
	}
	all := r.Groups["clerk"]
	if diff := cmp.Diff(all, split, cmpopts.EquateApprox(0, 1e-6), cmpopts.IgnoreFields(Stratum{}, "Realised", "Interval", "Folds")); diff != "" {
		t.Errorf("by maturity (-all +sum):\n%s", diff)
	}
	if all.Findings != r.Findings || all.False != r.False || all.Realised != r.Realised || all.Interval != r.Interval || math.Abs(all.Risked-r.Risked) > 1e-9 {
		t.Errorf("the only group %+v, want %d findings, %d false, %v of the budget", all, r.Findings, r.False, r.Realised)
	}
	if s := r.Maturity["32-255"]; s.Findings == 0 || s.AgentDays == 0 {
		t.Errorf("agents of which 32 to 255 events are known: %+v, want findings", s)
	}
}
