package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/deploy/apart"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/store/chdb/chdbtest"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(detectRole); addr != "" {
		if err := beDetect(addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	chdbtest.Child()
	os.Exit(apart.Main(m))
}

// A crowd is the work of a hundred simulated agents, each of which stands for
// many: what they did in three weeks, and what they did in the week after. It is
// kept as lines, because the collector would look at every pointer of an event while
// the role runs, which has none to look at.
type crowd struct {
	names    []string
	past     map[string][][]byte
	later    map[string][][]byte
	profiles map[string][]byte // at the end of the past
	longest  int               // past
}

func newCrowd(b *testing.B) *crowd {
	b.Helper()
	cfg := simulate.DefaultConfig()
	cfg.Agents, cfg.Days = 100, 28
	f, err := simulate.New(cfg)
	check(b, err)
	c := &crowd{past: map[string][][]byte{}, later: map[string][][]byte{}, profiles: map[string][]byte{}}
	engine := detect.New(detect.DefaultRules())
	var until event.Timestamp
	for ev := range f.Events() {
		line := ev.AppendJSON(nil)
		if until == 0 {
			until = ev.Time + event.Timestamp(21*24*time.Hour)
		}
		if ev.Time >= until {
			c.later[ev.Agent] = append(c.later[ev.Agent], line)
			continue
		}
		if len(c.past[ev.Agent]) == 0 {
			c.names = append(c.names, ev.Agent)
		}
		n := int64(len(c.past[ev.Agent])) // offsets of each agent's own: every copy of it has them behind it
		c.past[ev.Agent] = append(c.past[ev.Agent], line)
		c.longest = max(c.longest, int(n)+1)
		engine.Observe(ev, n, event.Source{Topic: "stakeout.raw", Offset: n})
	}
	for id, p := range engine.Changed() {
		c.profiles[id] = append([]byte(nil), p...)
		if len(c.later[id]) == 0 {
			b.Fatalf("%s does nothing in the fourth week", id)
		}
	}
	return c
}

// name is which of the simulated agents the nth of a crowd stands for, and its own name.
func (c *crowd) name(n int) (of, name string) {
	of = c.names[n%len(c.names)]
	return of, fmt.Sprintf("%s-%d", of, n)
}

// act writes what the agents do, so many events of each, in turn: no order of
// events has more profiles change between two checkpoints. It returns the offset
// of the first; what lies before belongs to an agent of no interest, because the
// profiles take in only offsets that they have not seen.
func (c *crowd) act(b *testing.B, d *detection, work map[string][][]byte, agents, each int) (first int) {
	b.Helper()
	out, err := d.client.NewProducer(b.Context())
	check(b, err)
	var decoder event.Decoder
	var ev event.Event
	var value, source []byte
	n := 0
	act := func(line []byte, name string) {
		check(b, decoder.Decode(line, &ev))
		ev.Agent, ev.ID = name, strconv.Itoa(n)
		value = ev.AppendJSON(value[:0])
		source = event.Source{Topic: "stakeout.raw", Offset: int64(n)}.AppendBinary(source[:0])
		out.Append(d.topics.Events, 0, []byte(name), value, stream.Header{Key: event.SourceHeader, Value: source})
		if n++; out.Buffered() > 8<<20 {
			check(b, out.Flush(b.Context()))
		}
	}
	for n < c.longest {
		act(work[c.names[0]][0], "first")
	}
	for i := range each {
		for who := range agents {
			of, name := c.name(who)
			act(work[of][i%len(work[of])], name)
		}
	}
	check(b, out.Flush(b.Context()))
	return c.longest
}

// remember writes the profiles of the agents.
func (c *crowd) remember(b *testing.B, d *detection, agents int) {
	b.Helper()
	out, err := d.client.NewProducer(b.Context())
	check(b, err)
	for n := range agents {
		of, name := c.name(n)
		out.Append(d.topics.Profiles, 0, []byte(name), c.profiles[of])
		if out.Buffered() > 8<<20 {
			check(b, out.Flush(b.Context()))
		}
	}
	check(b, out.Flush(b.Context()))
}

// BenchmarkRole is the CPU that an event costs the detect role, broker apart, from
// the fetch to the last checkpoint that is acknowledged, with 100,000 agents in one
// partition; against what it costs to fetch the same records and look at none.
// Agents that are all new have no profile yet; those that are known were restored
// with what they did in three weeks, and go on.
func BenchmarkRole(b *testing.B) {
	const agents, each = 100_000, 20
	c := newCrowd(b)
	b.Run("new", func(b *testing.B) { benchmarkRole(b, c, c.past, nil, agents, each) })
	b.Run("known", func(b *testing.B) { benchmarkRole(b, c, c.later, c.remember, agents, each) })
}

func benchmarkRole(b *testing.B, c *crowd, work map[string][][]byte, remember func(*testing.B, *detection, int), agents, each int) {
	d, written := roleApart(b)
	first := c.act(b, d, work, agents, each)
	last := first + agents*each - 1
	runs := 0
	all := func(open stream.Opener) (spent time.Duration) {
		ctx, done := context.WithCancel(b.Context())
		defer done()
		runs++
		check(b, d.client.Run(ctx, stream.Group{Name: fmt.Sprintf("bench-%d", runs), Topics: []string{d.topics.Events}}, func(ctx context.Context, p stream.Owned) (stream.Processor, error) {
			proc, err := open(ctx, p)
			return note(proc, func(records []stream.Record) {
				if spent == 0 && records[len(records)-1].Offset >= int64(first) {
					spent = -apart.CPU(b)
				}
				if records[len(records)-1].Offset >= int64(last) {
					done()
				}
			}), err
		}))
		return spent + apart.CPU(b)
	}
	var fetch, role time.Duration
	profiles := 0.0
	for b.Loop() {
		fetch += all(func(context.Context, stream.Owned) (stream.Processor, error) { return idle{}, nil })
		// A changelog of its own has each round begin with the same profiles.
		d.topics.Profiles = fmt.Sprintf("profiles-%d", runs)
		check(b, d.client.EnsureTopics(b.Context(), stream.Topic{Name: d.topics.Profiles, Partitions: 1}))
		if remember != nil {
			remember(b, d, agents)
		}
		before := written(d.topics.Profiles)
		role += all(d.open)
		profiles += written(d.topics.Profiles) - before
	}
	n := float64(b.N * agents * each)
	b.ReportMetric(float64(fetch)/n, "fetch-cpu-ns/event")
	b.ReportMetric(float64(role)/n, "role-cpu-ns/event")
	b.ReportMetric(float64(role)/float64(fetch), "role/fetch")
	b.ReportMetric(profiles/n, "profiles/event")
	b.ReportMetric(0, "ns/op")
}

// roleApart is the detect role over a broker in a process of its own, and what was
// written to a topic so far.
func roleApart(b *testing.B) (d *detection, written func(topic string) float64) {
	b.Helper()
	log, reg := slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry()
	topics := DefaultTopics()
	topics.Partitions = 1
	cfg := stream.DefaultConfig()
	cfg.Brokers = []string{apart.Start(b)}
	client, err := stream.Open(cfg, reg, log)
	check(b, err)
	b.Cleanup(client.Close)
	rules := detect.DefaultRules()
	metrics, err := newDetectionMetrics(reg, rules)
	check(b, err)
	check(b, client.EnsureTopics(b.Context(), topics.All()...))
	written = func(topic string) float64 {
		families, err := reg.Gather()
		check(b, err)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "stakeout_stream_produced_records_total" && m.GetLabel()[0].GetValue() == topic {
					return m.GetCounter().GetValue()
				}
			}
		}
		return 0
	}
	return &detection{topics: topics, rules: rules, client: client, log: log, metrics: metrics, cfg: DefaultConfig().Detect, step: stream.DefaultConfig().CheckpointRecords, decode: (*event.Decoder).Decode}, written
}

// idle is a processor that looks at nothing.
type idle struct{}

func (idle) Process(context.Context, []stream.Record) error { return nil }
func (idle) Checkpoint(context.Context) error               { return nil }
