package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// brokerRole makes a copy of the test's process a broker, so that a benchmark
// can count the CPU of the role alone.
const brokerRole = "APP_TEST_BROKER"

func TestMain(m *testing.M) {
	if os.Getenv(brokerRole) == "" {
		os.Exit(m.Run())
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(cluster.ListenAddrs()[0])
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // ends with the parent
		fmt.Fprintln(os.Stderr, err)
	}
	cluster.Close()
}

func startApart(b *testing.B) (addr string) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), brokerRole+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(b, err)
	out, err := cmd.StdoutPipe()
	check(b, err)
	check(b, cmd.Start())
	b.Cleanup(func() {
		check(b, in.Close())
		check(b, cmd.Wait())
	})
	addr, err = bufio.NewReader(out).ReadString('\n')
	check(b, err)
	return strings.TrimSpace(addr)
}

// cpu is what this process has used so far, in user and kernel mode.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// crowd writes the work of a hundred simulated agents, each of which stands for a
// thousand: so many events of every one, in turn.
func crowd(b *testing.B, d *detection, agents, each int) (events int) {
	b.Helper()
	cfg := simulate.DefaultConfig()
	cfg.Agents, cfg.Days = 100, 7
	f, err := simulate.New(cfg)
	check(b, err)
	work := map[string][]event.Event{}
	var order []string
	for ev := range f.Events() {
		if len(work[ev.Agent]) == 0 {
			order = append(order, ev.Agent)
		}
		if len(work[ev.Agent]) < each {
			var kept event.Event
			check(b, kept.UnmarshalJSON(ev.AppendJSON(nil)))
			work[ev.Agent] = append(work[ev.Agent], kept)
		}
	}
	out, err := d.client.NewProducer(b.Context())
	check(b, err)
	for i := range each {
		for n := range agents {
			of := work[order[n%len(order)]]
			ev := of[i%len(of)]
			ev.Agent = fmt.Sprintf("%s-%d", ev.Agent, n)
			ev.ID = fmt.Sprintf("%d-%d", n, i)
			out.Append(d.topics.Events, 0, []byte(ev.Agent), ev.AppendJSON(nil))
			if events++; out.Buffered() > 8<<20 {
				check(b, out.Flush(b.Context()))
			}
		}
	}
	check(b, out.Flush(b.Context()))
	return events
}

// BenchmarkRole is the CPU that an event costs the detect role, broker apart, from
// the fetch to the checkpoint that is acknowledged, with 100,000 agents in one
// partition; against what it costs to fetch the same records and look at none.
func BenchmarkRole(b *testing.B) {
	const agents, each = 100_000, 10
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	topics := DefaultTopics()
	topics.Partitions = 1
	cfg := stream.DefaultConfig()
	cfg.Brokers = []string{startApart(b)}
	client, err := stream.Open(cfg, prometheus.NewRegistry(), log)
	check(b, err)
	b.Cleanup(client.Close)
	rules := detect.DefaultRules()
	metrics, err := newDetectionMetrics(prometheus.NewRegistry(), rules)
	check(b, err)
	d := &detection{topics: topics, rules: rules, client: client, log: log, metrics: metrics, limit: DefaultConfig().Detect.MaxAgents, decode: (*event.Decoder).Decode}
	check(b, client.EnsureTopics(b.Context(), topics.All()...))
	events := crowd(b, d, agents, each)

	runs := 0
	all := func(open stream.Opener) time.Duration {
		ctx, done := context.WithCancel(b.Context())
		defer done()
		runs++
		seen, before := 0, cpu(b)
		check(b, client.Run(ctx, stream.Group{Name: fmt.Sprintf("bench-%d", runs), Topics: []string{topics.Events}}, func(ctx context.Context, p stream.Owned) (stream.Processor, error) {
			proc, err := open(ctx, p)
			return noted{proc, func(n int) {
				if seen += n; seen >= events {
					done()
				}
			}}, err
		}))
		return cpu(b) - before
	}
	var fetch, role time.Duration
	for b.Loop() {
		fetch += all(func(context.Context, stream.Owned) (stream.Processor, error) { return idle{}, nil })
		// A changelog of its own has each round begin without profiles.
		d.topics.Profiles = fmt.Sprintf("%s-%d", topics.Profiles, runs)
		check(b, client.EnsureTopics(b.Context(), stream.Topic{Name: d.topics.Profiles, Partitions: 1}))
		role += all(d.open)
	}
	n := float64(b.N * events)
	b.ReportMetric(float64(fetch)/n, "fetch-cpu-ns/event")
	b.ReportMetric(float64(role)/n, "role-cpu-ns/event")
	b.ReportMetric(float64(role)/float64(fetch), "role/fetch")
	b.ReportMetric(0, "ns/op")
}

// idle is a processor that looks at nothing.
type idle struct{}

func (idle) Process(context.Context, []stream.Record) error { return nil }
func (idle) Checkpoint(context.Context) error               { return nil }
