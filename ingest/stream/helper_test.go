package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stakeout-project/stakeout/deploy/kafka"
	"github.com/stakeout-project/stakeout/deploy/local"
)

// A testBroker is a Kafka that can be taken down and brought up again at the
// same address with what it had.
type testBroker interface {
	Addr() string
	Stop(t *testing.T)
	Start(t *testing.T)
}

type embeddedBroker struct {
	cfg local.KafkaConfig
	k   *local.Kafka
}

func startEmbedded(t *testing.T) *embeddedBroker {
	t.Helper()
	b := &embeddedBroker{cfg: local.DefaultKafkaConfig()}
	b.cfg.Dir, b.cfg.Listen = t.TempDir(), "127.0.0.1:0"
	b.cfg.CleanInterval = 100 * time.Millisecond
	b.Start(t)
	b.cfg.Listen = b.Addr()
	t.Cleanup(func() { b.Stop(t) })
	return b
}

func (b *embeddedBroker) Addr() string { return b.k.Addr() }

func (b *embeddedBroker) Start(t *testing.T) {
	t.Helper()
	var err error
	if b.k, err = local.StartKafka(b.cfg, testLog(t)); err != nil {
		t.Fatal(err)
	}
}

func (b *embeddedBroker) Stop(t *testing.T) {
	t.Helper()
	if err := b.k.Close(); err != nil {
		t.Fatal(err)
	}
}

type realBroker struct{ *kafka.Broker }

// startReal starts Apache Kafka, or skips where there is no Java or Maven. On
// CI both have to be there.
func startReal(t *testing.T, opts kafka.Options) realBroker {
	t.Helper()
	opts.Dir, opts.Log = t.TempDir(), testLog(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	b, err := kafka.Start(ctx, opts)
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		t.Skipf("NOT TESTED AGAINST REAL KAFKA: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return realBroker{b}
}

// Stop kills: what a crash does not lose, an orderly stop does not either.
func (b realBroker) Stop(t *testing.T) {
	t.Helper()
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
}

func (b realBroker) Start(t *testing.T) {
	t.Helper()
	if err := b.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// testContext bounds what waits for brokers, so that a hang shows where it is.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func testConfig(addr string) Config {
	cfg := DefaultConfig()
	cfg.Brokers = []string{addr}
	cfg.HeartbeatInterval = 100 * time.Millisecond
	cfg.SessionTimeout = 6 * time.Second
	cfg.RebalanceTimeout = 10 * time.Second
	cfg.FetchMaxWait = 50 * time.Millisecond
	cfg.CheckpointInterval = 100 * time.Millisecond
	return cfg
}

func testClient(t testing.TB, addr string, change ...func(*Config)) *Client {
	t.Helper()
	cfg := testConfig(addr)
	for _, f := range change {
		f(&cfg)
	}
	c, err := Open(cfg, prometheus.NewRegistry(), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// testTopic makes a topic named after the test.
func testTopic(t testing.TB, c *Client, partitions int, settings map[string]string) string {
	t.Helper()
	name := strings.NewReplacer("/", ".", "#", ".").Replace(t.Name())
	if err := c.EnsureTopics(testContext(t), Topic{Name: name, Partitions: partitions, Settings: settings}); err != nil {
		t.Fatal(err)
	}
	return name
}

func testProducer(t testing.TB, c *Client) *Producer {
	t.Helper()
	p, err := c.NewProducer(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// kgoClient is another implementation to compare with.
func kgoClient(t testing.TB, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// values are those of a partition, read to its end.
func values(t testing.TB, c *Client, topic string, partition int) (got []string) {
	t.Helper()
	_, err := c.ReadPartition(testContext(t), topic, partition, -1, func(r *Record) error {
		got = append(got, string(r.Value))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := testContext(t)
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("gave up waiting until %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A ledger notes what processors did, and what they must never do.
type ledger struct {
	mu        sync.Mutex
	values    map[int][]string // processed, by partition, with repetitions
	kept      map[int]int      // of them, covered by a checkpoint
	owners    map[int]int32    // generation of the open processor
	opened    []Owned
	closed    int
	wrong     []string
	process   func(int, []Record) error // may fail, in the place of a processor
	durable   func(int) error
	openFails error
}

func newLedger() *ledger {
	return &ledger{values: map[int][]string{}, kept: map[int]int{}, owners: map[int]int32{}}
}

func (l *ledger) open(_ context.Context, o Owned) (Processor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.openFails; err != nil {
		l.openFails = nil
		return nil, err
	}
	if gen, ok := l.owners[o.Partition]; ok {
		l.wrong = append(l.wrong, fmt.Sprintf("partition %d opened in generation %d while open in %d", o.Partition, o.Generation, gen))
	}
	l.owners[o.Partition] = o.Generation
	l.opened = append(l.opened, o)
	return &ledgerProcessor{l: l, owned: o, next: o.Next}, nil
}

func (l *ledger) count() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.values {
		n += len(v)
	}
	return n
}

// distinct counts what was processed at least once.
func (l *ledger) distinct() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := map[string]bool{}
	for _, v := range l.values {
		for _, s := range v {
			seen[s] = true
		}
	}
	return len(seen)
}

func (l *ledger) owned() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.owners)
}

func (l *ledger) check(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.wrong {
		t.Error(w)
	}
	if l.closed != len(l.opened) {
		t.Errorf("closed %d of %d processors", l.closed, len(l.opened))
	}
}

type ledgerProcessor struct {
	l     *ledger
	owned Owned
	next  int64
	dirty bool
}

func (p *ledgerProcessor) Process(_ context.Context, batch []Record) error {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if p.l.process != nil {
		if err := p.l.process(p.owned.Partition, batch); err != nil {
			return err
		}
	}
	for i := range batch {
		if batch[i].Offset < p.next {
			p.l.wrong = append(p.l.wrong, fmt.Sprintf("partition %d offset %d after %d", p.owned.Partition, batch[i].Offset, p.next-1))
		}
		p.next = batch[i].Offset + 1
		p.l.values[p.owned.Partition] = append(p.l.values[p.owned.Partition], string(batch[i].Value))
	}
	p.dirty = true
	return nil
}

func (p *ledgerProcessor) Checkpoint(context.Context) error {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if !p.dirty {
		p.l.wrong = append(p.l.wrong, "checkpoint although nothing was processed")
	}
	if p.l.durable != nil {
		if err := p.l.durable(p.owned.Partition); err != nil {
			return err
		}
	}
	p.dirty = false
	p.l.kept[p.owned.Partition] = len(p.l.values[p.owned.Partition])
	return nil
}

func (p *ledgerProcessor) Close() error {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	delete(p.l.owners, p.owned.Partition)
	p.l.closed++
	return nil
}

// running starts Run and returns what ends it and waits.
func running(t testing.TB, c *Client, topic string, l *ledger) (stop func()) {
	t.Helper()
	return runningAs(t, c, Group{Name: "group-" + topic, Topics: []string{topic}}, l)
}

func runningAs(t testing.TB, c *Client, g Group, l *ledger) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, g, l.open) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("Run: %v", err)
				}
			case <-time.After(time.Minute):
				t.Error("Run does not return")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// deleteRecords empties partition 0 before an offset.
func deleteRecords(t testing.TB, addr, topic string, before int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Offset = before
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	res, err := req.RequestWith(testContext(t), kgoClient(t, addr))
	if err != nil {
		t.Fatal(err)
	}
	if code := res.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("delete records: %v", kerr.ErrorForCode(code))
	}
}
