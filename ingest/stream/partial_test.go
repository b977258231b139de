package stream

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A trailer makes durable what lies so far behind.
type trailer struct {
	by     int64
	broken bool // in the end

	mu    sync.Mutex
	next  []int64 // where it was opened
	got   []string
	parts []int64 // that it said to be durable
	whole int     // checkpoints
}

func (p *trailer) open(_ context.Context, o Owned) (Processor, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = append(p.next, o.Next)
	return p, nil
}

func (p *trailer) Process(_ context.Context, batch []Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range batch {
		p.got = append(p.got, string(batch[i].Value))
	}
	return nil
}

func (p *trailer) CheckpointPart(_ context.Context, next int64) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parts = append(p.parts, max(0, next-p.by))
	return max(0, next-p.by), nil
}

func (p *trailer) Checkpoint(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		return errors.New("broken")
	}
	p.whole++
	return nil
}

func (p *trailer) wait(t *testing.T, what string, f func() bool) {
	t.Helper()
	eventually(t, what, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return f()
	})
}

// testPartial has processors leave what they did last to another checkpoint: the
// group's offset follows what is durable, and catches up once nothing comes.
func testPartial(t *testing.T, b testBroker) {
	const n, behind = 1000, 300
	busy := testClient(t, b.Addr(), func(cfg *Config) { cfg.CheckpointRecords, cfg.CheckpointInterval = 1, time.Hour })
	topic := testTopic(t, busy, 1, nil)
	produceNumbers(t, testProducer(t, busy), topic, 1, 0, n)
	run := func(c *Client, p *trailer) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx, Group{Name: "group-" + topic, Topics: []string{topic}}, p.open) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}

	first := &trailer{by: behind, broken: true}
	stop := run(busy, first)
	first.wait(t, "a part of all is durable", func() bool { return len(first.parts) > 0 && first.parts[len(first.parts)-1] == n-behind })
	stop() // without its last checkpoint

	idle := testClient(t, b.Addr())
	second := &trailer{by: behind}
	stop = run(idle, second)
	second.wait(t, "all is durable when nothing comes", func() bool { return second.whole > 0 })
	stop()
	if diff := cmp.Diff(numbers(0, 1, n)[n-behind:], second.got); diff != "" {
		t.Errorf("processed again (-want +got):\n%.500s", diff)
	}
	if second.whole != 1 {
		t.Errorf("%d checkpoints of the whole, want 1: then nothing was left", second.whole)
	}

	third := &trailer{}
	stop = run(idle, third)
	third.wait(t, "the partition is owned", func() bool { return len(third.next) == 1 })
	stop()
	if diff := cmp.Diff([]int64{n}, third.next); diff != "" {
		t.Errorf("the last one begins at (-want +got):\n%s", diff)
	}
}
