package stream

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	broker "github.com/stakeout-project/stakeout/deploy/kafka"
)

func TestFenceEmbedded(t *testing.T) { fences(t, startEmbedded(t)) }

func TestFenceRealKafka(t *testing.T) { fences(t, startReal(t, broker.Options{})) }

func fences(t *testing.T, b testBroker) {
	for _, tt := range []struct {
		name string
		f    func(*testing.T, testBroker)
	}{
		{"LateWrite", testLateWrite},
		{"LateRetry", testLateRetry},
		{"Refresh", testRefresh},
		{"Evicted", testEvicted},
		{"AfterRestart", testFencedAfterRestart},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.f(t, b) })
	}
}

func fencedProducer(t testing.TB, c *Client, name string) *Producer {
	t.Helper()
	p, err := c.NewFencedProducer(testContext(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t testing.TB, p *Producer, topic string, values ...string) {
	t.Helper()
	for _, v := range values {
		p.Append(topic, 0, []byte(v), []byte(v))
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

// refused wants that p cannot write.
func refused(t testing.TB, p *Producer, topic, value string) {
	t.Helper()
	p.Append(topic, 0, []byte(value), []byte(value))
	if err := p.Flush(testContext(t)); !errors.Is(err, ErrFenced) {
		t.Errorf("an earlier producer writes: %v, want ErrFenced", err)
	}
	if err := p.Flush(testContext(t)); !errors.Is(err, ErrFenced) {
		t.Errorf("an earlier producer tries again: %v, want ErrFenced", err)
	}
}

// testLateWrite is the sequence of a takeover: the new owner writes first, then reads.
func testLateWrite(t *testing.T, b testBroker) {
	old, now := testClient(t, b.Addr()), testClient(t, b.Addr())
	topic := testTopic(t, old, 1, map[string]string{"cleanup.policy": "compact"})
	a := fencedProducer(t, old, topic)
	write(t, a, topic, "a1", "a2")

	z := fencedProducer(t, now, topic)
	want := []string{"a1", "a2"}
	a.Append(topic, 0, []byte("a3"), []byte("a3"))
	switch err := a.Flush(testContext(t)); {
	case err == nil: // stored, and before the end that the new owner reads to
		want = append(want, "a3")
	case !errors.Is(err, ErrFenced):
		t.Fatal(err)
	}
	other := fencedProducer(t, now, topic+"-other")
	write(t, z, topic, "fence")
	want = append(want, "fence")
	if diff := cmp.Diff(want, values(t, now, topic, 0)); diff != "" {
		t.Errorf("the new owner reads (-want +got):\n%s", diff)
	}
	refused(t, a, topic, "late")
	write(t, other, topic, "other")
	write(t, z, topic, "z1", "z2")
	want = append(want, "other", "z1", "z2")
	if diff := cmp.Diff(want, values(t, now, topic, 0)); diff != "" {
		t.Errorf("after the late write there is (-want +got):\n%s", diff)
	}
}

// testLateRetry has batches under way in many takeovers, one after the other.
func testLateRetry(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, nil)
	var want []string
	var earlier []*Producer
	for i := range 20 {
		p := fencedProducer(t, c, topic)
		for _, e := range earlier {
			e.Append(topic, 0, nil, []byte("late"))
		}
		for j := range 3 {
			v := fmt.Sprintf("%d.%d", i, j)
			write(t, p, topic, v)
			want = append(want, v)
			for _, e := range earlier {
				if err := e.Flush(testContext(t)); !errors.Is(err, ErrFenced) {
					t.Fatalf("an earlier producer writes after takeover %d: %v, want ErrFenced", i, err)
				}
			}
		}
		earlier = append(earlier, p)
	}
	if diff := cmp.Diff(want, values(t, c, topic, 0)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

func testRefresh(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, nil)
	a := fencedProducer(t, c, topic)
	write(t, a, topic, "1", "2")
	id, epoch := a.id, a.epoch
	a.fence.shown = time.Now().Add(-2 * fenceRefresh)
	write(t, a, topic, "3")
	write(t, a, topic, "4", "5")
	if a.id != id || a.epoch != epoch+1 {
		t.Errorf("a name shown again is epoch %d of %d, want %d of %d", a.epoch, a.id, epoch+1, id)
	}
	z := fencedProducer(t, c, topic)
	write(t, z, topic, "6")
	a.fence.shown = time.Now().Add(-2 * fenceRefresh)
	refused(t, a, topic, "late")
	if diff := cmp.Diff([]string{"1", "2", "3", "4", "5", "6"}, values(t, c, topic, 0)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// testEvicted has an owner that is fenced while its group still knows it: it
// opens the partition again and goes on.
func testEvicted(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, nil)
	l := newLedger()
	fail := true
	l.process = func(int, []Record) error {
		if fail {
			fail = false
			return errors.Join(ErrFenced, errors.New("as a flush returns it"))
		}
		return nil
	}
	running(t, c, topic, l)
	produceNumbers(t, testProducer(t, c), topic, 1, 0, 10)
	eventually(t, "all are committed", func() bool { return commits(t, c, topic, 1)[0] == 10 })
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.opened) != 2 || l.opened[0].Generation != l.opened[1].Generation {
		t.Errorf("opened %v, want twice in one generation", l.opened)
	}
	if got := slices.Compact(l.values[0]); len(got) != 10 {
		t.Errorf("processed %v, want 10 numbers", got)
	}
}

// TestEvictedLeavesTheOthersAlone has an owner that is fenced because the group
// has moved on: to open the partition again would fence the rightful owner.
func TestEvictedLeavesTheOthersAlone(t *testing.T) {
	cluster, addr := startCluster(t)
	c := testClient(t, addr)
	topic := testTopic(t, c, 1, nil)
	h := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: "group-" + topic, Err: kerr.UnknownMemberID, Count: 1})
	l := newLedger()
	fail := true
	l.process = func(int, []Record) error {
		if fail {
			fail = false
			return ErrFenced
		}
		return nil
	}
	stop := running(t, c, topic, l)
	produceNumbers(t, testProducer(t, c), topic, 1, 0, 10)
	eventually(t, "all are committed", func() bool { return commits(t, c, topic, 1)[0] == 10 })
	stop()
	if h.Hits() != 1 {
		t.Errorf("the group was asked %d times, want once", h.Hits())
	}
	if len(l.opened) != 2 || l.opened[0].Generation >= l.opened[1].Generation {
		t.Errorf("opened %v, want again in a later generation only", l.opened)
	}
}

func testFencedAfterRestart(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 1, nil)
	a := fencedProducer(t, c, topic)
	write(t, a, topic, "a")
	z := fencedProducer(t, c, topic)
	write(t, z, topic, "z")
	b.Stop(t)
	b.Start(t)
	refused(t, a, topic, "late")
	write(t, z, topic, "zz")
	write(t, fencedProducer(t, c, topic), topic, "y")
	refused(t, z, topic, "late")
	if diff := cmp.Diff([]string{"a", "z", "zz", "y"}, values(t, c, topic, 0)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}
