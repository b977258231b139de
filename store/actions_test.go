package store

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// natsServer starts a NATS server over dir; port -1 is any.
func natsServer(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	return srv
}

func jetStream(t *testing.T, srv *server.Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func signer(t *testing.T) *command.Signer {
	t.Helper()
	kp, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	s, err := command.NewSigner(seed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func outcomeOf(id, agent string, status command.Status, at time.Time) command.Outcome {
	return command.Outcome{Action: command.Action{ID: id, Incident: "i1", Kind: command.RevokeToken, Mode: command.Auto, Step: 1,
		Target: command.Target{Agent: agent, Session: "s", User: "u", Credential: "c", Issuer: "is", Subject: "su"}, Policy: "default", Reason: "r", Findings: []string{"f1"},
		Occurred: event.At(now), Decided: event.At(now.Add(time.Second)), Expires: event.At(now.Add(time.Hour))},
		Status: status, Detail: "d", Executor: "e", Time: event.At(at)}
}

func publish(t *testing.T, js jetstream.JetStream, by *command.Signer, o command.Outcome) {
	t.Helper()
	m, err := command.EncodeOutcome(by, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func TestActions(t *testing.T) {
	s, e := migrated(t)
	dir := t.TempDir()
	srv := natsServer(t, dir, -1)
	js := jetStream(t, srv)
	triage := signer(t)
	keys := command.Keyring{Triage: []string{triage.Public()}}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.RunActions(ctx, js, keys) }() // triage has provisioned nothing yet
	layout := command.DefaultLayout()
	layout.AckWait = 5 * time.Second // what an outage cuts off between fetch and acknowledgement comes again soon
	if err := command.Provision(t.Context(), js, layout); err != nil {
		t.Fatal(err)
	}
	pending := func() (n int) {
		c, err := js.Consumer(t.Context(), command.Actions, command.StoreConsumer)
		if err != nil {
			return -1
		}
		info, err := c.Info(t.Context())
		if err != nil {
			return -1
		}
		return int(info.NumPending) + info.NumAckPending
	}

	verified := outcomeOf("act1", "a'1", command.Verified, now.Add(5*time.Second))
	publish(t, js, triage, outcomeOf("act1", "a'1", command.Waiting, now.Add(time.Second)))
	publish(t, js, triage, verified)
	publish(t, js, triage, outcomeOf("act1", "a'1", command.Commanded, now.Add(9*time.Second))) // late, and by a clock that is ahead
	publish(t, js, signer(t), outcomeOf("act2", "a2", command.Verified, now))                   // by nobody we trust
	eventually(t, "all outcomes are acknowledged", func() bool { return pending() == 0 })
	if got := counts(t, s); got.Actions != 1 || got.History != 3 {
		t.Errorf("%+v, want one action with three steps", got)
	}
	if n := testutil.ToFloat64(s.metrics.refused.WithLabelValues("actions")); n != 1 {
		t.Errorf("%v outcomes refused, want 1", n)
	}
	got, err := s.Actions(t.Context(), ActionFilter{Agent: "a'1", Incident: "i1", Status: command.Verified, Since: now, Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]command.Outcome{verified}, got); diff != "" {
		t.Errorf("Actions() (-want +got):\n%s", diff)
	}
	steps, err := s.History(t.Context(), "act1")
	if err != nil || len(steps) != 3 || steps[0].Status != command.Waiting || steps[1].Time != verified.Time || steps[2].Executor != "e" {
		t.Errorf("History() = %+v, %v; want waiting, verified, commanded", steps, err)
	}
	for _, c := range actionsTable().columns {
		var filled bool
		if err := s.conn.QueryRow(t.Context(), "SELECT toString(assumeNotNull("+c.name+")) NOT IN ('', '[]', '0') FROM actions_latest").Scan(&filled); err != nil || !filled {
			t.Errorf("column %s is empty: %v", c.name, err)
		}
	}

	t.Run("outages", func(t *testing.T) {
		for i := range 50 {
			publish(t, js, triage, outcomeOf(fmt.Sprint("out", i), "a3", command.Commanded, now))
			switch i {
			case 10:
				send(t, e, syscall.SIGKILL)
			case 30:
				port := srv.Addr().String()
				srv.Shutdown()
				srv.WaitForShutdown()
				var p int
				if _, err := fmt.Sscanf(port, "127.0.0.1:%d", &p); err != nil {
					t.Fatal(err)
				}
				srv = natsServer(t, dir, p)
				eventually(t, "NATS is back", func() bool { return pending() >= 0 })
			}
		}
		eventually(t, "all outcomes are acknowledged", func() bool { return pending() == 0 })
		if got := counts(t, s); got.Actions != 51 || got.History != 53 {
			t.Errorf("%+v, want 51 actions with 53 steps", got)
		}
	})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("RunActions = %v", err)
	}
}

func TestVersion(t *testing.T) {
	f := func(earlier, later command.Status, by time.Duration) {
		t.Helper()
		a := actionRow{Outcome: outcomeOf("a", "a", earlier, now)}
		b := actionRow{Outcome: outcomeOf("a", "a", later, now.Add(by))}
		if a.version() >= b.version() {
			t.Errorf("%s (%d) is not replaced by %s %s later (%d)", earlier, a.version(), later, by, b.version())
		}
	}
	f(command.Waiting, command.Commanded, -time.Hour)
	f(command.Held, command.Commanded, 0)
	f(command.Commanded, command.Verified, -time.Hour)
	f(command.Waiting, command.Expired, -time.Hour)
	f(command.Waiting, command.Held, time.Second)
	f(command.Unverified, command.Verified, time.Second)
}
