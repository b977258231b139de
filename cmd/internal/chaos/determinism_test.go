package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/rules"
)

var update = flag.Bool("update", false, "rewrite the golden findings")

const golden = "testdata/findings.jsonl"

// TestDeterminism runs one log, with late, repeated and disordered events in it,
// over different numbers of partitions, in batches of random size, with members
// that come and go all the time. The findings are the same, byte for byte, also those
// about what agents in different partitions share.
func TestDeterminism(t *testing.T) {
	lines, err := history(3, 20, 12)
	if err != nil {
		t.Fatal(err)
	}
	lines = append(thefts(), lines...)
	disorder(t, lines)
	want := undisturbed(t, lines)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, want, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	checked, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(checked), string(want)); diff != "" {
		t.Fatalf("findings of an undisturbed run; `make golden` takes them over (-golden +now):\n%s", diff)
	}
	for _, n := range []int{1, 2, 8} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("partitions=%d seed=%d", n, seed), func(t *testing.T) {
				got := disturbed(t, lines, n, seed)
				if diff := gocmp.Diff(string(want), string(got)); diff != "" {
					t.Errorf("findings (-undisturbed +disturbed):\n%s", diff)
				}
			})
		}
	}
}

// thefts is the log of agents that work for a while; then tokens of one are used by
// another, three of an issuer within two seconds, each by others. The first is
// reported. By the second, the issuer is one whose tokens are shared: what is found
// depends on the order in which partitions that know nothing of each other are heard.
func thefts() (lines []line) {
	const agents, issuers = 12, 40
	start := time.Date(2025, 12, 1, 9, 0, 0, 0, time.UTC)
	name := func(i int) string { return fmt.Sprintf("bearer-%02d", i%agents) }
	add := func(ev event.Event, at time.Time) {
		ev.ID, ev.Time = fmt.Sprint("theft-", len(lines)), event.At(at)
		lines = append(lines, line{agent: ev.Agent, id: ev.ID, text: ev.AppendJSON(nil)})
	}
	for i := range 220 {
		for a := range agents {
			add(event.Event{Name: event.ToolCall, Agent: name(a), Role: "bearer", Session: fmt.Sprint(name(a), " ", i/10), Tool: "crm_lookup",
				Resource: "customers", Privilege: "crm:read", Effect: event.Read}, start.Add(time.Duration(i)*time.Hour+time.Duration(a)*time.Second))
		}
	}
	stolen := start.AddDate(0, 0, 20)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range issuers {
		who := rng.Perm(agents)
		for part := range 2 { // the owners, then the thieves
			for n := range 3 {
				agent := name(who[2*n+part])
				add(event.Event{Name: event.CredentialUse, Agent: agent, Role: "bearer", Session: fmt.Sprint(agent, " token ", i, n),
					CredentialID: fmt.Sprintf("token-%d-%d", i, n), CredentialIssuer: fmt.Sprintf("https://idp-%d.example", i)},
					stolen.Add(time.Duration(i)*time.Hour+time.Duration(part)*time.Minute+time.Duration(n)*time.Second))
			}
		}
	}
	return lines
}

// disorder wants that the log is as bad as it is meant to be.
func disorder(t *testing.T, lines []line) {
	t.Helper()
	late, again, last, seen := 0, 0, map[string]time.Time{}, map[string]bool{}
	for _, l := range lines {
		var ev struct {
			Time time.Time `json:"time"`
		}
		if err := json.Unmarshal(l.text, &ev); err != nil {
			t.Fatal(err)
		}
		if ev.Time.Before(last[l.agent]) {
			late++
		}
		if seen[l.id] {
			again++
		}
		last[l.agent], seen[l.id] = ev.Time, true
	}
	t.Logf("%d lines, %d out of order, %d repeated", len(lines), late, again)
	if late == 0 || again == 0 {
		t.Error("want some lines out of order and some repeated")
	}
}

func sorted(findings map[string]string) []byte {
	var b bytes.Buffer
	for _, text := range slices.Sorted(maps.Values(findings)) {
		b.WriteString(text)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func undisturbed(t *testing.T, lines []line) []byte {
	t.Helper()
	detection, err := rules.Detection("")
	if err != nil {
		t.Fatal(err)
	}
	var raw []*kgo.Record
	for i, l := range lines {
		raw = append(raw, &kgo.Record{Topic: "stakeout.raw", Offset: int64(i), Timestamp: time.Now(), Value: l.text})
	}
	ref, err := refer(raw, detection)
	if err != nil {
		t.Fatal(err)
	}
	return sorted(ref.findings)
}

// disturbed is the same over Kafka. It returns the findings, each once.
func disturbed(t *testing.T, lines []line, n int, seed uint64) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	kafka := local.DefaultKafkaConfig()
	kafka.Listen, kafka.Dir = "127.0.0.1:0", t.TempDir()
	k, err := local.StartKafka(kafka, log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}()
	config := func() app.Config {
		cfg := app.DefaultConfig()
		cfg.HTTP.Listen = ""
		cfg.Topics.Partitions = n
		cfg.Kafka.Brokers = []string{k.Addr()}
		cfg.Kafka.HeartbeatInterval = 100 * time.Millisecond
		cfg.Kafka.FetchMaxWait = 50 * time.Millisecond
		cfg.Kafka.FetchMaxBytes = 4<<10 + rng.IntN(60<<10)
		cfg.Kafka.ProduceMaxBytes = 8<<10 + rng.IntN(100<<10)
		cfg.Detect.Settle = time.Second // the longest that a flush of the lines below may take
		cfg.Kafka.CheckpointRecords = 1 + rng.IntN(2000)
		cfg.Kafka.CheckpointInterval = time.Duration(20+rng.IntN(500)) * time.Millisecond
		cfg.Detect.CheckpointProfiles = rng.IntN(20)
		cfg.Detect.ReplayRecords = rng.IntN(5000)
		cfg.Detect.ReplayAge = time.Duration(rng.IntN(1000)) * time.Millisecond
		return cfg
	}
	cfg := config()
	client, err := stream.Open(cfg.Kafka, prometheus.NewRegistry(), log)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.EnsureTopics(ctx, cfg.Topics.All()...); err != nil {
		t.Fatal(err)
	}

	// Members come and go while lines are sent and for some time after that, and then stay
	// until everything is judged.
	var calm atomic.Bool
	members, leave := context.WithCancel(ctx)
	defer leave()
	var all sync.WaitGroup
	var joined atomic.Int64
	for range 3 {
		var plan []app.Config
		var stays []time.Duration
		for range 200 {
			plan, stays = append(plan, config()), append(stays, time.Duration(300+rng.IntN(1000))*time.Millisecond)
		}
		all.Go(func() {
			for i := 0; members.Err() == nil; i++ {
				joined.Add(1)
				long := stays[i%len(stays)]
				if calm.Load() {
					long = time.Hour
				}
				stay, end := context.WithTimeout(members, long)
				if err := app.Run(stay, plan[i%len(plan)], log, app.Ingest, app.Detect); err != nil {
					t.Error(err)
				}
				end()
			}
		})
	}

	out, err := client.NewProducer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for rest := lines; len(rest) > 0; {
		some := min(len(rest), 1+rng.IntN(400))
		for _, l := range rest[:some] {
			out.Append(cfg.Topics.Raw[0], -1, []byte(l.agent), l.text)
		}
		if err := out.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		rest = rest[some:]
		wait(ctx, time.Duration(rng.IntN(40))*time.Millisecond)
	}
	time.AfterFunc(5*time.Second, func() { calm.Store(true) })
	judged := func() bool {
		if held(ctx, t, client, cfg.Topics.Facts) > 0 {
			return false
		}
		for _, x := range [][2]string{{cfg.Groups.Ingest, cfg.Topics.Raw[0]}, {cfg.Groups.Detect, cfg.Topics.Events}, {cfg.Groups.Facts(), cfg.Topics.Facts}} {
			group, topic := x[0], x[1]
			ranges, err := client.Offsets(ctx, topic)
			if err != nil {
				t.Fatal(err)
			}
			var ends []int64
			for _, r := range ranges {
				ends = append(ends, r.Next)
			}
			lag, err := behind(ctx, k.Addr(), group, topic, ends)
			if err != nil || lag > 0 {
				return false
			}
		}
		return true
	}
	for !judged() {
		wait(ctx, 50*time.Millisecond)
		if ctx.Err() != nil {
			t.Fatal("not everything is judged after two minutes")
		}
	}
	leave()
	all.Wait()

	findings, repeated := map[string]string{}, 0
	for p := range n {
		_, err := client.ReadPartition(ctx, cfg.Topics.Findings, p, -1, func(r *stream.Record) error {
			var f struct{ ID string }
			if err := json.Unmarshal(r.Value, &f); err != nil {
				return err
			}
			text := string(r.Value)
			if was, ok := findings[f.ID]; ok {
				repeated++
				if was != text {
					t.Errorf("finding %s is\n%s\nand\n%s", f.ID, was, text)
				}
			}
			findings[f.ID] = text
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d findings, %d sent again, members joined %d times", len(findings), repeated, joined.Load())
	return sorted(findings)
}

// held counts the facts that no cut lets be judged so far.
func held(ctx context.Context, t *testing.T, client *stream.Client, topic string) (n int) {
	t.Helper()
	parts, err := client.Partitions(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	for p := range parts {
		q := entity.NewQueue(math.MaxInt)
		_, err := client.ReadPartition(ctx, topic, p, -1, func(r *stream.Record) error {
			if len(r.Headers) == 1 && r.Headers[0].Key == app.CutHeader {
				c, err := entity.ParseCut(r.Value)
				for ok := true; ok; {
					_, _, ok = q.Next(c.Until)
				}
				return err
			}
			f, err := detect.ParseFact(r.Value)
			q.Add(&f, nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		n += q.Len()
	}
	return n
}
