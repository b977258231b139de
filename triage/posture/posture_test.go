package posture

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// desk is a NATS server and the bucket as triage writes it.
type desk struct {
	*testing.T
	nats   *local.NATS
	kv     jetstream.KeyValue
	triage *command.Signer
	feed   *Feed
	ahead  atomic.Int64 // of the feed's clock
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	n, err := local.StartNATS(local.NATSConfig{Dir: filepath.Join(t.TempDir(), "nats"), Listen: "127.0.0.1:0"}, log)
	d := &desk{T: t, nats: n}
	d.must(err)
	t.Cleanup(n.Close)
	nc, err := command.Connect(d.as(local.TriageRole), "test", log)
	d.must(err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	d.must(err)
	d.must(command.Provision(t.Context(), js, command.DefaultLayout()))
	d.kv, err = js.KeyValue(t.Context(), command.PostureBucket)
	d.must(err)
	d.triage, err = command.ReadSigner(n.SigningFile(local.TriageRole))
	d.must(err)

	cfg := DefaultConfig()
	cfg.NATS, cfg.Trust.Triage = d.as(local.GatewayRole), []string{d.triage.Public()}
	d.feed, err = New(cfg, prometheus.NewRegistry(), log)
	d.must(err)
	d.feed.now = func() time.Time { return time.Now().Add(time.Duration(d.ahead.Load())) }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.feed.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *desk) as(role local.NATSRole) command.NATSConfig {
	return command.NATSConfig{URL: d.nats.URL(), SeedFile: d.nats.SeedFile(role), InboxPrefix: d.nats.InboxPrefix(role)}
}

func (d *desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// set writes a posture as triage does, set so many seconds ago.
func (d *desk) set(agent string, s command.Standing, ago int) []byte {
	d.Helper()
	now := time.Now().Add(-time.Duration(ago) * time.Second)
	p := command.Posture{Agent: agent, Standing: s, Since: event.At(now), Set: event.At(now), Expires: event.At(now.Add(time.Hour)),
		Holds: []command.Hold{{Action: "a1", Standing: s, Expires: event.At(now.Add(time.Hour))}}}
	value, err := command.SealPosture(d.triage, command.Token(agent), p)
	d.must(err)
	d.put(command.Token(agent), value)
	return value
}

func (d *desk) put(key string, value []byte) {
	d.Helper()
	_, err := d.kv.Put(d.Context(), key, value)
	d.must(err)
}

// beat says that triage is alive, so many seconds ago, until the feed has heard it.
func (d *desk) beat() {
	d.Helper()
	d.eventually(func() error {
		now := event.At(time.Now())
		value, err := command.SealPosture(d.triage, command.BeatKey, command.Posture{Standing: command.Normal, Set: now})
		d.must(err)
		d.put(command.BeatKey, value)
		return d.feed.Ready()
	})
}

func (d *desk) want(agent string, want command.Standing) {
	d.Helper()
	d.eventually(func() error {
		if got := d.feed.Decide(agent); got.Standing != want {
			return fmt.Errorf("%s stands at %+v, want %s", agent, got, want)
		}
		return nil
	})
}

func (d *desk) eventually(f func() error) {
	d.Helper()
	end := time.Now().Add(10 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			d.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
}

// counted waits until so many values had a result.
func (d *desk) counted(result string, n float64) {
	d.Helper()
	d.eventually(func() error {
		if got := testutil.ToFloat64(d.feed.values.WithLabelValues(result)); got != n {
			return fmt.Errorf("%v values %s, want %v", got, result, n)
		}
		return nil
	})
}

func TestFeedFollowsTheBucket(t *testing.T) {
	d := newDesk(t)
	d.set("clerk", command.Contained, 5)
	d.want("clerk", command.Contained)
	if got := d.feed.Decide("other"); got.Standing != command.Restricted || !got.Stale {
		t.Errorf("before triage is heard of, an agent without a posture stands at %+v, want restricted", got)
	}
	d.beat()
	d.want("other", command.Normal)
	d.set("clerk", command.Watched, 3)
	d.want("clerk", command.Watched)
	d.set("a strange/agent.id", command.Restricted, 3)
	d.want("a strange/agent.id", command.Restricted)
}

func TestFeedBelievesOnlyTriage(t *testing.T) {
	d := newDesk(t)
	d.beat()
	earlier := d.set("clerk", command.Watched, 20)
	latest := d.set("clerk", command.Contained, 10)
	d.want("clerk", command.Contained)

	d.put("clerk", earlier) // played again
	d.counted("older", 1)
	d.put("clerk", []byte(`{"agent":"clerk","standing":"normal"}`)) // signed by nobody
	d.counted("refused", 1)
	d.put("clerk", []byte(strings.Replace(string(latest), "contained", "normal", 1))) // altered
	d.counted("refused", 2)
	d.put("other", latest) // under another agent's key
	d.counted("refused", 3)
	outsider, err := command.ReadSigner(d.nats.SigningFile(local.ExecutorRole))
	d.must(err)
	forged, err := command.SealPosture(outsider, "clerk", command.Posture{Agent: "clerk", Standing: command.Normal, Set: event.At(time.Now())})
	d.must(err)
	d.put("clerk", forged)
	d.counted("refused", 4)
	d.must(d.kv.Purge(t.Context(), "clerk")) // a deletion frees no one
	d.set("last", command.Watched, 0)
	d.want("last", command.Watched)
	d.want("clerk", command.Contained)
	if got := d.feed.Decide("other").Standing; got != command.Normal {
		t.Errorf("other stands at %s", got)
	}
}

func TestFeedFailsSafe(t *testing.T) {
	d := newDesk(t)
	d.beat()
	d.set("clerk", command.Contained, 0)
	d.want("clerk", command.Contained)
	d.ahead.Store(int64(d.feed.cfg.Stale + time.Second))
	if got := d.feed.Decide("other"); got.Standing != command.Restricted || !got.Stale || got.Allows(event.Send) || !got.Allows(event.Read) {
		t.Errorf("after silence an agent stands at %+v", got)
	}
	if got := d.feed.Decide("clerk"); got.Standing != command.Contained || got.Allows(event.Read) {
		t.Errorf("after silence a contained agent stands at %+v", got)
	}
	if d.feed.Ready() == nil {
		t.Error("a stale feed says it is ready")
	}
	d.ahead.Store(int64(2 * time.Hour))
	if got := d.feed.Decide("clerk"); got.Standing != command.Restricted {
		t.Errorf("an expired posture leaves its agent at %+v, want the default", got)
	}
}

func TestOldSignOfLifeProvesNothing(t *testing.T) {
	d := newDesk(t)
	d.beat()
	e, err := d.kv.Get(t.Context(), command.BeatKey)
	d.must(err)
	cfg := d.feed.cfg
	late, err := New(cfg, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	d.must(err)
	late.take(e.Key(), e.Value(), false) // stood in the bucket before we came
	if late.Ready() == nil {
		t.Error("a sign of life from before counts")
	}
	late.take(e.Key(), e.Value(), true) // and is played again
	if late.Ready() == nil {
		t.Error("a sign of life that is played again counts")
	}
}

func TestConfig(t *testing.T) {
	f := func(change func(*Config), want string) {
		t.Helper()
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want %q", err, want)
		}
	}
	f(func(c *Config) {}, "trust.triage: is empty")
	f(func(c *Config) { c.Stale = time.Second }, "stale: is 1s, want 5s or more")
	f(func(c *Config) { c.Default = "open" }, `default: is "open"`)
	f(func(c *Config) { c.NATS.URL = "" }, "nats.url: is empty")
	f(func(c *Config) { c.Trust.Triage = []string{"x"} }, "trust.triage[0]")
}

// BenchmarkDecide is what a gateway pays per request.
func BenchmarkDecide(b *testing.B) {
	cfg := DefaultConfig()
	f := &Feed{cfg: cfg, now: time.Now}
	f.heard.Store(time.Now().Add(time.Hour).UnixNano())
	for i := range 100_000 {
		id := fmt.Sprint("agent-", i)
		f.agents.Store(id, &command.Posture{Agent: id, Holds: []command.Hold{{Standing: command.Contained, Expires: event.At(time.Now().Add(time.Hour))}}})
	}
	b.ReportAllocs()
	for b.Loop() {
		if f.Decide("agent-4711").Standing != command.Contained {
			b.Fatal("not contained")
		}
	}
}
