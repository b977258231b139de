package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// bench is a NATS server with one executor on it, and a triage that the test plays itself.
type bench struct {
	*testing.T
	nats   *local.NATS
	js     jetstream.JetStream // as triage
	triage *command.Signer
	exec   *Executor
}

// actor records what it is asked to do.
type actor struct {
	mu   sync.Mutex
	done []string
	do   func(ctx context.Context, a command.Action) (command.Status, string)
}

func (*actor) Kind() command.Kind { return command.RevokeToken }

func (a *actor) Do(ctx context.Context, c command.Action) (command.Status, string) {
	a.mu.Lock()
	a.done = append(a.done, c.ID)
	a.mu.Unlock()
	if a.do != nil {
		return a.do(ctx, c)
	}
	return command.Verified, "gone"
}

func (a *actor) times() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.done)
}

func newBench(t *testing.T, a Actor) *bench {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	n, err := local.StartNATS(local.NATSConfig{Dir: filepath.Join(t.TempDir(), "nats"), Listen: "127.0.0.1:0"}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	b := &bench{T: t, nats: n}
	nc, err := command.Connect(b.natsConfig(local.TriageRole), "test", log)
	b.must(err)
	t.Cleanup(nc.Close)
	b.js, err = jetstream.New(nc)
	b.must(err)
	b.must(command.Provision(t.Context(), b.js, command.DefaultLayout()))
	b.triage, err = command.ReadSigner(n.SigningFile(local.TriageRole))
	b.must(err)
	if a != nil {
		b.exec = b.executor(a)
		b.run(b.exec)
	}
	return b
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) natsConfig(role local.NATSRole) command.NATSConfig {
	return command.NATSConfig{URL: b.nats.URL(), SeedFile: b.nats.SeedFile(role), InboxPrefix: b.nats.InboxPrefix(role)}
}

func (b *bench) config() Config {
	c := DefaultConfig()
	c.NATS, c.SigningKey = b.natsConfig(local.ExecutorRole), b.nats.SigningFile(local.ExecutorRole)
	c.Trust.Triage = []string{b.nats.SigningKey(local.TriageRole)}
	return c
}

func (b *bench) executor(a Actor) *Executor {
	b.Helper()
	e, err := New(b.config(), prometheus.NewRegistry(), slog.New(slog.NewTextHandler(b.Output(), nil)), a)
	b.must(err)
	return e
}

func (b *bench) run(e *Executor) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		done <- nil
	}
	b.Cleanup(stop)
	return stop
}

func action(id string) command.Action {
	now := time.Now()
	return command.Action{ID: id, Incident: "i", Kind: command.RevokeToken, Mode: command.Auto, Policy: "p", Reason: "r",
		Target: command.Target{Agent: "a", Credential: "jti"}, Occurred: event.At(now), Decided: event.At(now), Expires: event.At(now.Add(time.Minute))}
}

func (b *bench) publish(m *nats.Msg, err error) {
	b.Helper()
	b.must(err)
	_, err = b.js.PublishMsg(context.Background(), m)
	b.must(err)
}

// acks returns what was answered so far.
func (b *bench) acks() (all []command.Ack) {
	b.Helper()
	s, err := b.js.Stream(context.Background(), command.Acks)
	b.must(err)
	ring := command.Keyring{Executors: []string{b.nats.SigningKey(local.ExecutorRole)}}
	st := s.CachedInfo().State
	for seq := max(1, st.FirstSeq); seq <= st.LastSeq; seq++ {
		m, err := s.GetMsg(context.Background(), seq)
		b.must(err)
		a, _, err := command.ParseAck(ring, command.Message{Subject: m.Subject, Header: m.Header, Data: m.Data})
		b.must(err)
		all = append(all, a)
	}
	return all
}

func (b *bench) eventually(f func() error) {
	b.Helper()
	end := time.Now().Add(15 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			b.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

func (b *bench) wantAcks(want ...command.Status) []command.Ack {
	b.Helper()
	var acks []command.Ack
	b.eventually(func() error {
		acks = b.acks()
		var got []command.Status
		for _, a := range acks {
			got = append(got, a.Status)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("answers are %v, want %v", got, want)
		}
		return nil
	})
	return acks
}

func (b *bench) wantCount(result string, want float64) {
	b.Helper()
	b.eventually(func() error {
		if got := testutil.ToFloat64(b.exec.commands.WithLabelValues(string(command.RevokeToken), result)); got != want {
			return fmt.Errorf("%v %s, want %v", got, result, want)
		}
		return nil
	})
}

func TestOneActionIsCarriedOutOnce(t *testing.T) {
	a := &actor{}
	b := newBench(t, a)
	for attempt := 1; attempt <= 3; attempt++ {
		b.publish(command.EncodeAction(b.triage, action("a1"), attempt))
		b.eventually(func() error {
			if n := len(b.acks()); n != attempt {
				return fmt.Errorf("%d answers, want %d", n, attempt)
			}
			return nil
		})
	}
	acks := b.wantAcks(command.Verified, command.Verified, command.Verified)
	if acks[0] != acks[2] {
		t.Errorf("the answers differ: %+v", acks)
	}
	if a.times() != 1 {
		t.Errorf("carried out %d times, want once", a.times())
	}
	b.wantCount("repeated", 2)
}

func TestCommandsThatAreNotBelieved(t *testing.T) {
	a := &actor{}
	b := newBench(t, a)
	kp, err := nkeys.CreateAccount()
	b.must(err)
	seed, err := kp.Seed()
	b.must(err)
	stranger, err := command.NewSigner(seed)
	b.must(err)
	executor, err := command.ReadSigner(b.nats.SigningFile(local.ExecutorRole))
	b.must(err)

	b.publish(command.EncodeAction(stranger, action("a1"), 1))
	b.publish(command.EncodeAction(executor, action("a2"), 1))
	altered, err := command.EncodeAction(b.triage, action("a3"), 1)
	b.must(err)
	altered.Data = append([]byte(nil), altered.Data...)
	altered.Data[len(altered.Data)-5] ^= 1
	b.publish(altered, nil)
	moved, err := command.EncodeAction(b.triage, action("a4"), 1)
	b.must(err)
	moved.Subject = command.ActionSubject(command.RevokeToken, "somebody-else")
	b.publish(moved, nil)
	b.publish(nats.NewMsg(command.ActionSubject(command.RevokeToken, "a")), nil)
	shadow := action("a5")
	shadow.Mode = command.Shadow
	b.publish(command.EncodeAction(b.triage, shadow, 1))
	b.wantCount("refused", 6)
	if a.times() != 0 || len(b.acks()) != 0 {
		t.Errorf("carried out %v, answered %v", a.done, b.acks())
	}

	old := action("a6")
	old.Expires = event.At(time.Now().Add(-time.Second))
	b.publish(command.EncodeAction(b.triage, old, 1))
	acks := b.wantAcks(command.Failed)
	if a.times() != 0 || acks[0].Detail != "the command had expired when it was heard" {
		t.Errorf("carried out %v, answered %v", a.done, acks)
	}
}

func TestExecutorThatIsStoppedInTheMiddle(t *testing.T) {
	began := make(chan struct{}, 1)
	stuck := &actor{do: func(ctx context.Context, _ command.Action) (command.Status, string) {
		began <- struct{}{}
		<-ctx.Done()
		return command.Failed, "interrupted"
	}}
	b := newBench(t, nil)
	layout := command.DefaultLayout()
	layout.AckWait = time.Second // so that the message of the one that is gone comes again soon
	b.must(command.Provision(t.Context(), b.js, layout))
	stop := b.run(b.executor(stuck))
	b.publish(command.EncodeAction(b.triage, action("a1"), 1))
	<-began
	stop()
	b.run(b.executor(&actor{}))
	b.wantAcks(command.Verified)
}

func TestSlowActionDoesNotHoldUpOthers(t *testing.T) {
	free := make(chan struct{})
	a := &actor{do: func(ctx context.Context, c command.Action) (command.Status, string) {
		if c.ID == "slow" {
			<-free
		}
		return command.Verified, "gone"
	}}
	b := newBench(t, a)
	b.publish(command.EncodeAction(b.triage, action("slow"), 1))
	b.publish(command.EncodeAction(b.triage, action("quick"), 1))
	b.publish(command.EncodeAction(b.triage, action("slow"), 2)) // asked again meanwhile
	if acks := b.wantAcks(command.Verified); acks[0].Action != "quick" {
		t.Errorf("answers are %+v", acks)
	}
	close(free)
	b.wantAcks(command.Verified, command.Verified, command.Verified)
	if a.times() != 2 {
		t.Errorf("carried out %v, want each once", a.done)
	}
}

func TestNewRefuses(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	if _, err := New(DefaultConfig(), prometheus.NewRegistry(), log, &actor{}); err == nil {
		t.Error("a configuration without keys")
	}
	c := DefaultConfig()
	c.SigningKey, c.Trust.Triage = "x", []string{newPublic(t)}
	if _, err := New(c, prometheus.NewRegistry(), log); err == nil {
		t.Error("an executor without actors")
	}
	if _, err := New(c, prometheus.NewRegistry(), log, &actor{}); err != nil {
		t.Error(err)
	}
	e, err := New(c, prometheus.NewRegistry(), log, &actor{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a missing signing key: %v", err)
	}
}

func newPublic(t *testing.T) string {
	t.Helper()
	kp, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}
