package compose_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/triage/command"
)

// as connects to the server of nats.conf with a role's seed.
func as(t *testing.T, url, dir, role string) (*natsgo.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := command.Connect(command.NATSConfig{URL: url, SeedFile: filepath.Join(dir, "secrets", role+".nk"), InboxPrefix: "_INBOX_" + role}, role,
		slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatalf("%s: %v", role, err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// TestNATSPermissions has every user of nats.conf do what its role needs, and
// fail at what another role alone may do.
func TestNATSPermissions(t *testing.T) {
	dir, env := initialised(t)
	url := nats(t, env)
	ctx := t.Context()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused := func(what string, do func(context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond) // nobody answers what the server does not let through
		defer cancel()
		if err := do(ctx); err == nil {
			t.Errorf("%s: was allowed", what)
		} else if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, natsgo.ErrPermissionViolation) && !errors.Is(err, natsgo.ErrTimeout) {
			t.Errorf("%s: was refused for another reason: %v", what, err)
		}
	}
	publish := func(js jetstream.JetStream, subject string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := js.Publish(ctx, subject, []byte("{}"))
			return err
		}
	}
	put := func(js jetstream.JetStream, bucket string) func(context.Context) error {
		return func(ctx context.Context) error {
			kv, err := js.KeyValue(ctx, bucket)
			if err != nil {
				return err
			}
			_, err = kv.Put(ctx, "clerk", []byte("{}"))
			return err
		}
	}
	take := func(js jetstream.JetStream, stream, consumer string) func(context.Context) error {
		return func(ctx context.Context) error {
			c, err := js.Consumer(ctx, stream, consumer)
			if err != nil {
				return err
			}
			batch, err := c.Fetch(1, jetstream.FetchMaxWait(2*time.Second))
			if err != nil {
				return err
			}
			for m := range batch.Messages() {
				return m.DoubleAck(ctx)
			}
			return errors.Join(errors.New("no message"), batch.Error())
		}
	}

	_, triage := as(t, url, dir, "triage")
	must("triage provisions", command.Provision(ctx, triage, command.DefaultLayout()))
	must("triage provisions again", command.Provision(ctx, triage, command.DefaultLayout()))
	for _, kind := range command.DefaultLayout().Kinds {
		must("triage commands", publish(triage, command.ActionSubject(kind, "clerk"))(ctx))
	}
	must("triage records", publish(triage, command.OutcomeSubject("a1"))(ctx))
	for _, bucket := range []string{command.PostureBucket, command.IncidentBucket, command.ActionBucket} {
		must("triage writes "+bucket, put(triage, bucket)(ctx))
	}
	refused("triage answers", publish(triage, command.AckSubject("a1")))
	refused("triage approves", publish(triage, command.ApprovalSubject("a1")))

	_, executor := as(t, url, dir, "executor")
	for _, kind := range command.DefaultLayout().Kinds {
		must("executor takes "+string(kind), take(executor, command.Actions, command.ExecutorConsumer(kind))(ctx))
	}
	must("executor answers", publish(executor, command.AckSubject("a1"))(ctx))
	must("executor remembers", put(executor, command.ExecutedBucket)(ctx))
	refused("executor commands", publish(executor, command.ActionSubject(command.Page, "clerk")))
	refused("executor approves", publish(executor, command.ApprovalSubject("a1")))
	refused("executor sets a posture", put(executor, command.PostureBucket))

	_, operator := as(t, url, dir, "operator")
	must("operator approves", publish(operator, command.ApprovalSubject("a1"))(ctx))
	refused("operator commands", publish(operator, command.ActionSubject(command.Page, "clerk")))
	refused("operator answers", publish(operator, command.AckSubject("a1")))

	must("triage hears an answer", take(triage, command.Acks, command.TriageConsumer)(ctx))
	must("triage hears an approval", take(triage, command.Acks, command.TriageConsumer)(ctx))

	_, store := as(t, url, dir, "store")
	must("store reads an outcome", take(store, command.Actions, command.StoreConsumer)(ctx))
	must("triage tells of an incident", publish(triage, command.CaseSubject("i1"))(ctx))
	must("store reads incidents", take(store, command.Actions, command.CaseConsumer)(ctx))
	must("store audits commands", take(store, command.Actions, command.AuditConsumer)(ctx))
	must("store audits answers", take(store, command.Acks, command.AuditConsumer)(ctx))
	refused("store tells of an incident", publish(store, command.CaseSubject("i1")))
	refused("store commands", publish(store, command.ActionSubject(command.Page, "clerk")))
	refused("store takes a command", take(store, command.Actions, command.ExecutorConsumer(command.Page)))

	conn, gateway := as(t, url, dir, "gateway")
	kv, err := gateway.KeyValue(ctx, command.PostureBucket)
	must("gateway finds the postures", err)
	w, err := kv.WatchAll(ctx)
	must("gateway watches", err)
	select {
	case e := <-w.Updates():
		if e == nil || e.Key() != "clerk" {
			t.Errorf("gateway saw %v, want the posture of clerk", e)
		}
	case <-time.After(5 * time.Second):
		t.Error("gateway saw no posture")
	}
	must("gateway stops", w.Stop())
	refused("gateway sets a posture", put(gateway, command.PostureBucket))
	refused("gateway reads incidents", func(ctx context.Context) error {
		_, err := gateway.KeyValue(ctx, command.IncidentBucket)
		return err
	})
	if sub, err := conn.SubscribeSync("_INBOX_triage.>"); err != nil {
		t.Error(err)
	} else if _, err := sub.NextMsg(300 * time.Millisecond); !errors.Is(err, natsgo.ErrPermissionViolation) && !errors.Is(err, natsgo.ErrTimeout) {
		t.Errorf("gateway listens to triage's answers: %v", err)
	}
}
