package triage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
	"github.com/stakeout-project/stakeout/triage/executor"
)

// world is everything around triage, for real: a NATS server, an identity
// provider, and whatever executors a test starts.
type world struct {
	testing.TB
	dir    string
	nats   *local.NATS
	idp    *local.IDP
	policy Policy
	ahead  atomic.Int64 // of triage's clock

	signalsRisk bool
	draft       DraftConfig
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, dir: t.TempDir(), policy: autoPolicy()}
	w.startNATS("127.0.0.1:0")
	idp, err := local.StartIDP(local.DefaultIDPConfig())
	w.must(err)
	w.idp = idp
	t.Cleanup(func() { w.must(idp.Close()) })
	w.must(os.Mkdir(filepath.Join(w.dir, "vault"), 0o700))
	return w
}

func (w *world) startNATS(addr string) {
	w.Helper()
	n, err := local.StartNATS(local.NATSConfig{Dir: filepath.Join(w.dir, "nats"), Listen: addr}, w.log())
	w.must(err)
	w.nats = n
	w.Cleanup(n.Close)
}

func (w *world) log() *slog.Logger { return slog.New(slog.NewTextHandler(w.Output(), nil)) }

func (w *world) quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// autoPolicy revokes at once and pages when that did not hold.
func autoPolicy() Policy {
	return Policy{
		Budgets: map[command.Kind]Budget{command.RevokeToken: {Max: 100, Per: time.Hour}},
		Entries: []Entry{{Name: "contain", Ladder: []Step{
			{Kind: command.RevokeToken, Mode: command.Auto, AckTimeout: time.Minute},
			{Kind: command.Page, Mode: command.Auto},
		}}},
	}
}

func (w *world) trust() command.Keyring {
	return command.Keyring{
		Triage:    []string{w.nats.SigningKey(local.TriageRole)},
		Executors: []string{w.nats.SigningKey(local.ExecutorRole)},
		Operators: []string{w.nats.SigningKey(local.OperatorRole)},
	}
}

func (w *world) natsConfig(role local.NATSRole) command.NATSConfig {
	return command.NATSConfig{URL: w.nats.URL(), SeedFile: w.nats.SeedFile(role), InboxPrefix: w.nats.InboxPrefix(role)}
}

// triage makes a triage process under the policy in w.
func (w *world) triage() *Triage {
	w.Helper()
	cfg := DefaultConfig()
	cfg.NATS, cfg.SigningKey, cfg.Trust = w.natsConfig(local.TriageRole), w.nats.SigningFile(local.TriageRole), w.trust()
	cfg.RiskSignals = w.signalsRisk
	cfg.Draft = w.draft
	cfg.Tick, cfg.Timeout = 10*time.Millisecond, 2*time.Second
	tr, err := New(cfg, w.policy, nil, prometheus.NewRegistry(), w.log())
	w.must(err)
	tr.now = func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }
	w.Cleanup(tr.Close)
	return tr
}

// run runs one of the parts until the test ends, or until stop.
func (w *world) run(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
		done <- nil
	}
	w.Cleanup(stop)
	return stop
}

// executors runs an executor that revokes and one that pages.
func (w *world) executors() (stop func()) {
	w.Helper()
	return w.run(w.executor(w.oauth(), w.pager()).Run)
}

func (w *world) executor(actors ...executor.Actor) *executor.Executor {
	w.Helper()
	cfg := executor.DefaultConfig()
	cfg.NATS, cfg.SigningKey, cfg.Trust = w.natsConfig(local.ExecutorRole), w.nats.SigningFile(local.ExecutorRole), w.trust()
	e, err := executor.New(cfg, prometheus.NewRegistry(), w.log(), actors...)
	w.must(err)
	return e
}

func (w *world) oauth() executor.Actor {
	w.Helper()
	secret := filepath.Join(w.dir, "secret")
	w.must(os.WriteFile(secret, []byte(w.idp.Secret()), 0o600))
	cfg := executor.DefaultOAuthConfig()
	cfg.RevokeURL, cfg.IntrospectURL = w.idp.URL()+"/revoke", w.idp.URL()+"/introspect"
	cfg.ClientID, cfg.SecretFile, cfg.Settle = w.idp.ClientID(), secret, 0
	o, err := executor.NewOAuth(cfg, executor.DirVault(filepath.Join(w.dir, "vault")))
	w.must(err)
	return o
}

func (w *world) pager() executor.Actor {
	w.Helper()
	p, err := executor.NewPage(executor.DefaultPageConfig(), slog.New(slog.DiscardHandler))
	w.must(err)
	return p
}

// issue makes a token and puts it into the vault.
func (w *world) issue(jti string) (token string) {
	w.Helper()
	token = w.idp.Issue(jti)
	w.must(os.WriteFile(filepath.Join(w.dir, "vault", command.Token(jti)), []byte(token), 0o600))
	return token
}

// finding is the n-th finding about an agent, in one session, acting with credential jti-<agent>.
func (w *world) finding(agent string, n int) detect.Finding {
	return detect.Finding{
		ID: fmt.Sprintf("first_use/%s/%d", agent, n), Detector: "first_use", Threat: "privilege-drift", Severity: detect.High,
		Time: event.At(time.Now().Add(time.Duration(w.ahead.Load()))), Agent: agent, Session: "s-" + agent,
		Credential: detect.Credential{ID: "jti-" + agent}, Reason: agent + " used crm:export for the first time",
	}
}

// feed hands findings to a new owner of their partition.
func (w *world) feed(tr *Triage, fs ...detect.Finding) error {
	var batch []stream.Record
	for i, f := range fs {
		r := w.record(f)
		r.Offset = int64(i)
		batch = append(batch, r)
	}
	return feedRecords(tr, batch)
}

// record is a finding as it stands in its topic.
func (w *world) record(f detect.Finding) stream.Record {
	w.Helper()
	value, err := json.Marshal(&f)
	w.must(err)
	return stream.Record{Topic: "stakeout.findings", Key: []byte(f.Agent), Value: value}
}

func feedRecords(tr *Triage, batch []stream.Record) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	p, err := tr.Open(ctx, stream.Owned{Topic: "stakeout.findings"})
	if err != nil {
		return err
	}
	if err := p.Process(ctx, batch); err != nil {
		return err
	}
	return p.Checkpoint(ctx)
}

// js connects as a role.
func (w *world) js(role local.NATSRole) jetstream.JetStream {
	w.Helper()
	nc, err := command.Connect(w.natsConfig(role), "test", w.log())
	w.must(err)
	w.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(2*time.Second))
	w.must(err)
	return js
}

// history is all there is in the stream of actions.
type history struct {
	commands []command.Action // every message that commands
	attempts map[string]int   // messages that command, by action
	outcomes []command.Outcome
	cases    []command.Case
}

func (w *world) history() history {
	w.Helper()
	ctx := context.Background()
	s, err := w.js(local.OperatorRole).Stream(ctx, command.Actions)
	w.must(err)
	h := history{attempts: map[string]int{}}
	for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		w.must(err)
		msg := command.Message{Subject: m.Subject, Header: m.Header, Data: m.Data}
		if strings.HasPrefix(m.Subject, "stakeout.outcome.") {
			if strings.HasSuffix(m.Subject, "probe") {
				continue
			}
			o, err := command.ParseOutcome(w.trust(), msg)
			w.must(err)
			h.outcomes = append(h.outcomes, o)
			continue
		}
		if strings.HasPrefix(m.Subject, command.CaseSubject("")) {
			c, err := command.ParseCase(w.trust(), msg)
			w.must(err)
			h.cases = append(h.cases, c)
			continue
		}
		a, err := command.ParseAction(w.trust(), msg)
		w.must(err)
		h.commands = append(h.commands, a)
		h.attempts[a.ID]++
	}
	return h
}

// statuses lists what became of the actions of a kind against an agent, in order.
func (h history) statuses(k command.Kind, agent string) string {
	var all []string
	for _, o := range h.outcomes {
		if o.Action.Kind == k && o.Action.Target.Agent == agent {
			all = append(all, string(o.Status))
		}
	}
	return strings.Join(all, " ")
}

// reasons lists the reasons of the actions of a kind.
func (h history) reasons(k command.Kind) string {
	var all []string
	for _, o := range h.outcomes {
		if o.Action.Kind == k && !slices.Contains(all, o.Action.Reason) {
			all = append(all, o.Action.Reason)
		}
	}
	return strings.Join(all, "\n")
}

// details lists what the outcomes of an agent's actions of a kind say.
func (h history) details(k command.Kind, agent string) string {
	var all []string
	for _, o := range h.outcomes {
		if o.Action.Kind == k && o.Action.Target.Agent == agent && o.Detail != "" {
			all = append(all, o.Detail)
		}
	}
	return strings.Join(all, "\n")
}

func (w *world) wantStatuses(k command.Kind, agent, want string) {
	w.Helper()
	w.eventually(func() error {
		if got := w.history().statuses(k, agent); got != want {
			return fmt.Errorf("%s of %s: %q, want %q", k, agent, got, want)
		}
		return nil
	})
}

// wantOnce fails if any action was commanded twice, or any outcome told twice.
func (w *world) wantOnce() history {
	w.Helper()
	h := w.history()
	for id, n := range h.attempts {
		if n != 1 {
			w.Errorf("action %s is commanded %d times", id, n)
		}
	}
	told := map[string]int{}
	for _, o := range h.outcomes {
		told[fmt.Sprint(o.Action.ID, " ", o.Status, " ", o.Approved)]++ // an action waits on for each approval that is not enough
	}
	for what, n := range told {
		if n != 1 {
			w.Errorf("outcome %s stands %d times", what, n)
		}
	}
	return h
}

func (w *world) posture(agent string) command.Posture {
	w.Helper()
	kv, err := w.js(local.GatewayRole).KeyValue(context.Background(), command.PostureBucket)
	w.must(err)
	e, err := kv.Get(context.Background(), command.Token(agent))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return command.Posture{}
	}
	w.must(err)
	p, err := command.OpenPosture(w.trust(), e.Key(), e.Value())
	w.must(err)
	return p
}

func (w *world) signer(role local.NATSRole) *command.Signer {
	w.Helper()
	s, err := command.ReadSigner(w.nats.SigningFile(role))
	w.must(err)
	return s
}

// send publishes a message that was just encoded.
func (w *world) send(js jetstream.JetStream) func(*nats.Msg, error) {
	return func(m *nats.Msg, err error) {
		w.Helper()
		w.must(err)
		_, err = js.PublishMsg(context.Background(), m)
		w.must(err)
	}
}

// eventually waits until f is content.
func (w *world) eventually(f func() error) {
	w.Helper()
	end := time.Now().Add(15 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			w.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}
