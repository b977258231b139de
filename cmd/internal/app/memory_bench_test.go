package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/deploy/apart"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// detectRole makes a copy of the test's process a detect role over the broker at
// its address.
const detectRole = "APP_TEST_DETECT"

// beDetect runs the role until standard input ends, and says where its metrics are.
func beDetect(broker string) error {
	cfg := DefaultConfig()
	cfg.Kafka.Brokers, cfg.HTTP.Listen, cfg.Topics.Partitions = []string{broker}, "127.0.0.1:0", millionPartitions
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer stop()
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	said := func(_ context.Context, cfg Config, _ *health) error {
		fmt.Println(cfg.HTTP.Listen)
		return nil
	}
	return run(ctx, cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), said, Detect)
}

const (
	million           = 1_000_000
	millionPartitions = 4 // of 250,000 agents, which is what a partition keeps
)

// BenchmarkMillion has a detect role of its own process restore a million agents,
// each as it is after three weeks, and judge three events of each and what they tell
// of each other. It reads from /proc what the process occupies then, and at most.
func BenchmarkMillion(b *testing.B) {
	c := newCrowd(b)
	for b.Loop() {
		addr := apart.Start(b)
		cfg, topics := stream.DefaultConfig(), DefaultTopics()
		cfg.Brokers, topics.Partitions = []string{addr}, millionPartitions
		client, err := stream.Open(cfg, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(io.Discard, nil)))
		check(b, err)
		defer client.Close()
		check(b, client.EnsureTopics(b.Context(), topics.All()...))
		out, err := client.NewProducer(b.Context())
		check(b, err)
		send := func(topic string, n int, key, value []byte, headers ...stream.Header) {
			out.Append(topic, n%millionPartitions, key, value, headers...)
			if out.Buffered() > 8<<20 {
				check(b, out.Flush(b.Context()))
			}
		}
		for n := range million {
			of, name := c.name(n)
			send(topics.Profiles, n, []byte(name), c.profiles[of])
		}
		check(b, out.Flush(b.Context()))

		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), detectRole+"="+addr), os.Stderr
		in, err := cmd.StdinPipe()
		check(b, err)
		said, err := cmd.StdoutPipe()
		check(b, err)
		check(b, cmd.Start())
		listen, err := bufio.NewReader(said).ReadString('\n')
		check(b, err)
		page := "http://" + strings.TrimSpace(listen) + "/metrics"
		wait := func(metric, label string, want float64) {
			b.Helper()
			for counted(b, page, metric, label) < want {
				time.Sleep(100 * time.Millisecond)
			}
		}
		wait("stakeout_detect_agents", "", million)
		restored, spent := occupied(b, cmd.Process.Pid, "VmRSS"), counted(b, page, "process_cpu_seconds_total", "")

		events := 0
		var decoder event.Decoder
		var ev event.Event
		for each := range 3 {
			for n := range million {
				of, name := c.name(n)
				check(b, decoder.Decode(c.later[of][each%len(c.later[of])], &ev))
				ev.Agent, ev.ID = name, strconv.Itoa(events)
				source := event.Source{Topic: "stakeout.raw", Offset: int64(c.longest + events)}.AppendBinary(nil)
				send(topics.Events, n, []byte(name), ev.AppendJSON(nil), stream.Header{Key: event.SourceHeader, Value: source})
				events++
			}
		}
		check(b, out.Flush(b.Context()))
		wait("stakeout_detect_events_total", "", float64(events-millionPartitions*c.longest)) // some lie before what the profiles know
		wait("stakeout_stream_produced_records_total", topics.Profiles, million)
		spent = counted(b, page, "process_cpu_seconds_total", "") - spent
		judged := occupied(b, cmd.Process.Pid, "VmRSS")
		wait("stakeout_detect_facts_judged_total", "", counted(b, page, "stakeout_detect_facts_total", ""))
		time.Sleep(2 * freeInterval) // in which what is free is returned
		b.ReportMetric(restored, "MB-restored")
		b.ReportMetric(judged, "MB-judged")
		b.ReportMetric(occupied(b, cmd.Process.Pid, "VmRSS"), "MB-then")
		b.ReportMetric(occupied(b, cmd.Process.Pid, "VmHWM"), "MB-most")
		b.ReportMetric(spent*1e6/float64(events), "cpu-us/event-and-facts")
		check(b, in.Close())
		check(b, cmd.Wait())
	}
	b.ReportMetric(0, "ns/op")
}

// counted adds up a metric over those of its labels that hold a text.
func counted(b *testing.B, page, metric, label string) (sum float64) {
	b.Helper()
	res, err := http.Get(page)
	check(b, err)
	defer func() { check(b, res.Body.Close()) }()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if name, labels, _ := strings.Cut(name, "{"); name != metric || !strings.Contains(labels, label) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		check(b, err)
		sum += n
	}
	check(b, lines.Err())
	return sum
}

// occupied is a line of /proc/PID/status, in millions of bytes.
func occupied(b *testing.B, pid int, line string) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(b, err)
	_, rest, _ := strings.Cut(string(status), line+":")
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	check(b, err)
	return kb * 1024 / 1e6
}
