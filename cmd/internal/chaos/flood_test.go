package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/rules"
)

// flood is what one agent after the other sends that has never been seen, and
// one agent that never uses anything twice, besides the fleet's log.
func flood(fleet []line, strangers, names int) []line {
	at := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	call := func(agent string, i int, tool, resource string) line {
		ev := event.Event{ID: fmt.Sprintf("%s-%d", agent, i), Time: event.At(at.Add(time.Duration(i) * time.Second)), Name: event.ToolCall,
			Agent: agent, Session: agent, Tool: tool, Resource: resource, Privilege: "crm:read", Effect: event.Read}
		return line{agent: agent, id: ev.ID, text: ev.AppendJSON(nil)}
	}
	lines := slices.Clone(fleet)
	for i := range strangers {
		lines = append(lines, call(fmt.Sprintf("stranger-%d", i), i, "crm_lookup", "customers"))
	}
	for i := range names {
		lines = append(lines, call("namer", i, fmt.Sprintf("tool-%d", i), fmt.Sprintf("resource-%d", i)))
	}
	return lines
}

var times = flag.Int("flood", 1, "how many times as large the backlogs of TestFlood are")

// TestFlood has the roles find first one backlog and then one of ten times its
// size, all of it at once: what they hold in memory must not depend on it, the
// lag they tell of must be the one that Kafka knows, and no event is left out.
func TestFlood(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Binary, cfg.Dir = binary(t), t.TempDir()
	scale := *times
	small, err := history(3, 30, float64(scale))
	if err != nil {
		t.Fatal(err)
	}
	large, err := history(4, 30, 10*float64(scale))
	if err != nil {
		t.Fatal(err)
	}
	small, large = flood(small, 200, 1_000*scale), flood(large, 2_000, 10_000*scale)
	for i := range large { // of others, and later: nobody's log begins twice, and what is judged stays so
		large[i] = again(t, large[i])
	}
	detection, err := rules.Detection("")
	if err != nil {
		t.Fatal(err)
	}
	w, err := build(t.Context(), cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, 30*time.Second, func() error { return w.shows(t.Context(), expectation{}) }) // triage and ingest have made what is missing
	one, little, _ := w.backlog(t, small)
	ten, much, took := w.backlog(t, large)
	for _, role := range slices.Sorted(maps.Keys(ten)) {
		t.Logf("%-9s holds at most %3.0f MB with %d lines, %3.0f MB with %d", role, one[role]/1e6, len(small), ten[role]/1e6, len(large))
		room := 64e6
		if role == "store" {
			room = 450e6 // the smaller one does not fill its four batches a table
		}
		if much[role] != (known{}) {
			t.Logf("%-9s knows %+v, then %+v", role, little[role], much[role])
		}
		if ten[role] > one[role]+room {
			t.Errorf("%s holds %.0f MB more, want %.0f at most", role, (ten[role]-one[role])/1e6, room/1e6)
		}
	}
	t.Logf("%d lines at once were %.0f s of what it can do", len(large), took.Seconds())
	// Every event is stored once and judged once, and the findings are those of an orderly
	// replay, also those about what agents have in common, although partitions were days apart.
	res, _, err := w.settled(t.Context(), func(ctx context.Context) (*tally, error) {
		return w.compareBy(ctx, append(small, large...), detection, w.compareEvents, w.compareFindings, w.compareProfiles, joint(t))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(res.problems, w.fallen()...) {
		t.Error(p)
	}
	skipped, err := w.counts(t.Context(), []gauge{{"", "stakeout_stream_skipped_total", ""}})
	if err != nil || skipped[0] != 0 {
		t.Errorf("%v offsets were skipped (%v)", skipped, err)
	}
}

// joint wants some of the findings to be about what agents share.
func joint(t *testing.T) func(context.Context, *reference, *tally) error {
	return func(_ context.Context, ref *reference, _ *tally) error {
		n := 0
		for id, text := range ref.findings {
			var f detect.Finding
			if err := json.Unmarshal([]byte(text), &f); err != nil {
				return fmt.Errorf("finding %s: %w", id, err)
			}
			if slices.Contains(detect.JointDetectors(), f.Detector) {
				n++
			}
		}
		t.Logf("%d findings, %d of them about what agents share", len(ref.findings), n)
		if n == 0 {
			t.Error("nothing is found about what agents share: the test shows nothing of it")
		}
		return nil
	}
}

// again is the same line of another agent, two months later.
func again(t *testing.T, l line) line {
	t.Helper()
	var decoder event.Decoder
	var ev event.Event
	if err := decoder.Decode(l.text, &ev); err != nil {
		t.Fatal(err)
	}
	ev.Agent, ev.ID = "again-"+ev.Agent, "again-"+ev.ID
	ev.Time += event.Timestamp(60 * 24 * time.Hour)
	return line{agent: ev.Agent, id: ev.ID, text: ev.AppendJSON(nil)}
}

// backlog has all lines there before any role is, and starts the roles. It
// returns the most that each of them held until it had caught up.
func (w *world) backlog(t *testing.T, lines []line) (peak map[string]float64, most map[string]known, took time.Duration) {
	t.Helper()
	ctx := t.Context()
	for _, r := range w.roles {
		if err := r.kill(); err != nil {
			t.Fatal(err)
		}
	}
	load := &loader{addr: w.kafkaAddr, topic: w.app.Topics.Raw[0], lines: lines}
	if err := load.run(ctx); err != nil {
		t.Fatal(err)
	}
	for _, r := range w.roles {
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	peak, most = map[string]float64{}, map[string]known{}
	lag := []gauge{{"ingest", "stakeout_stream_lag_records", `topic="` + w.app.Topics.Raw[0] + `"`}}
	told := 0.0
	var since, until time.Time // between which Kafka saw that ingest was behind
	eventually(t, 3*time.Minute, func() error {
		behind, err := w.lagOf(ctx, w.app.Groups.Ingest, w.app.Topics.Raw[0])
		if err != nil {
			return err
		}
		says, err := w.counts(ctx, lag)
		if err != nil {
			return err // not up yet
		}
		if int64(says[0]) > behind {
			t.Errorf("ingest says it is %v records behind, Kafka knows of %d", says[0], behind)
		}
		told = max(told, says[0])
		if behind > 0 {
			if until = time.Now(); since.IsZero() {
				since = until
			}
		}
		now, err := w.resident(ctx, "")
		for role, bytes := range now {
			peak[role] = max(peak[role], bytes)
		}
		return errors.Join(err, w.learn(ctx, most), w.allCaughtUp(ctx))
	})
	if late := until.Sub(since); told == 0 && late > 5*time.Second { // what is over at once nobody needs to be told
		t.Errorf("of %d lines at once ingest told of no lag, although it was behind for %s", len(lines), late)
	}
	return peak, most, time.Since(start)
}

// known is what a detect role says that it knows, at most. It depends on what the log
// tells of, and has limits of its own (detect.max_agents, detect.max_entities, a number of
// facts that are held back); how much of the log is waiting is none of its business.
type known struct{ agents, entities, facts float64 }

// learn asks the detect roles.
func (w *world) learn(ctx context.Context, most map[string]known) error {
	return w.each("", func(p *process) error {
		if !strings.HasPrefix(p.String(), "detect") {
			return nil
		}
		k := most[p.String()]
		for name, v := range map[string]*float64{"agents": &k.agents, "entities": &k.entities, "facts_waiting": &k.facts} {
			now, err := p.metric(ctx, "stakeout_detect_"+name, "")
			if err != nil {
				return err
			}
			*v = max(*v, now)
		}
		most[p.String()] = k
		return nil
	})
}

// lagOf is how far a group is behind, in Kafka's eyes.
func (w *world) lagOf(ctx context.Context, group, topic string) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.kafkaAddr))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	found, err := ends(ctx, client, topic)
	if err != nil {
		return 0, err
	}
	last := make([]int64, partitions)
	for p, end := range found {
		last[p] = end
	}
	return behind(ctx, w.kafkaAddr, group, topic, last)
}

// allCaughtUp is nil when nobody is behind at all.
func (w *world) allCaughtUp(ctx context.Context) error {
	var late []string
	for _, x := range w.groups() {
		n, err := w.lagOf(ctx, x[0], x[1])
		if err != nil {
			return err
		}
		if n > 0 {
			late = append(late, fmt.Sprintf("%s is %d records behind", x[0], n))
		}
	}
	if len(late) > 0 {
		return errors.New(strings.Join(late, ", "))
	}
	return nil
}
