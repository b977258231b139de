package stream

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testProgress has a group process records, with no checkpoint and a processor that
// fails once: how far it is can be seen from outside, and is never too far. Who takes
// over begins where the last checkpoint was, not where the progress is.
func testProgress(t *testing.T, b testBroker) {
	const n, partitions = 900, 3
	c := testClient(t, b.Addr(), func(cfg *Config) { cfg.CheckpointInterval = time.Hour })
	topic := testTopic(t, c, partitions, nil)
	group := Group{Name: "group-" + topic, Topics: []string{topic}, Progress: true}
	far := func() []int64 {
		t.Helper()
		got, err := c.Progress(testContext(t), group.Name, topic)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if diff := cmp.Diff([]int64{-1, -1, -1}, far()); diff != "" {
		t.Errorf("of a group that never was (-want +got):\n%s", diff)
	}

	l := newLedger()
	var once sync.Once
	l.process = func(partition int, _ []Record) (err error) {
		if partition == 1 {
			once.Do(func() { err = errors.New("fails once") })
		}
		return err
	}
	l.durable = func(int) error { return errors.New("crash") }
	stop := runningAs(t, c, group, l)
	p := testProducer(t, c)
	for i := range 3 {
		produceNumbers(t, p, topic, partitions, i*n/3, (i+1)*n/3)
		eventually(t, "what is processed shows", func() bool {
			got := far()
			l.mu.Lock()
			defer l.mu.Unlock()
			all := true
			for p, next := range got {
				if done := int64(len(l.values[p])); next > done {
					t.Fatalf("partition %d is said to be processed up to %d; it is up to %d", p, next, done)
				}
				all = all && next == int64((i+1)*n/3/partitions)
			}
			return all
		})
	}
	stop()
	if diff := cmp.Diff(map[int]int64{}, commits(t, c, topic, partitions)); diff != "" {
		t.Errorf("committed without a checkpoint (-want +got):\n%s", diff)
	}

	next := newLedger()
	stop = runningAs(t, c, group, next)
	eventually(t, "all is processed again", func() bool { return next.count() == n })
	stop()
	next.check(t)
	if diff := cmp.Diff([]int64{n / partitions, n / partitions, n / partitions}, far()); diff != "" {
		t.Errorf("in the end (-want +got):\n%s", diff)
	}
}
