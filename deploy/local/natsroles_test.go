package local

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/stakeout-project/stakeout/deploy/certs"
)

// rights are subjects that matter, and who alone may publish on each.
var rights = []struct {
	subject string
	may     []NATSRole
}{
	{"stakeout.action.revoke_token.a", []NATSRole{TriageRole}}, // a command
	{"stakeout.outcome.a1", []NATSRole{TriageRole}},            // what became of it
	{"stakeout.case.i1", []NATSRole{TriageRole}},               // an incident
	{"stakeout.ack.a1", []NATSRole{ExecutorRole}},              // an answer
	{"stakeout.approval.a1", []NATSRole{OperatorRole}},         // a decision
	{"$KV.posture.a", []NATSRole{TriageRole}},
	{"$KV.incidents.a", []NATSRole{TriageRole}},
	{"$KV.actions.a", []NATSRole{TriageRole}},
	{"$KV.executed.a", []NATSRole{ExecutorRole}},

	// Taking a message away from who it is for, and acknowledging it.
	{"$JS.API.CONSUMER.MSG.NEXT.ACTIONS.executor-revoke_token", []NATSRole{ExecutorRole}},
	{"$JS.ACK.ACTIONS.executor-revoke_token.1.1.1.1.0", []NATSRole{ExecutorRole}},
	{"$JS.API.CONSUMER.MSG.NEXT.ACTIONS.store", []NATSRole{StoreRole}},
	{"$JS.ACK.ACTIONS.store.1.1.1.1.0", []NATSRole{StoreRole}},
	{"$JS.API.CONSUMER.MSG.NEXT.ACTIONS.audit", []NATSRole{StoreRole}},
	{"$JS.ACK.ACKS.audit.1.1.1.1.0", []NATSRole{StoreRole}},
	{"$JS.API.CONSUMER.MSG.NEXT.ACKS.triage", []NATSRole{TriageRole}},
	{"$JS.ACK.ACKS.triage.1.1.1.1.0", []NATSRole{TriageRole}},

	// Changing the streams, and listening to them by a consumer of one's own.
	{"$JS.API.STREAM.CREATE.ACTIONS", []NATSRole{TriageRole}},
	{"$JS.API.STREAM.UPDATE.ACKS", []NATSRole{TriageRole}},
	{"$JS.API.STREAM.MSG.GET.ACKS", []NATSRole{TriageRole, StoreRole, OperatorRole}},
	{"$JS.API.CONSUMER.CREATE.ACTIONS.mine", []NATSRole{TriageRole}},
	{"$JS.API.CONSUMER.DURABLE.CREATE.ACKS.mine", []NATSRole{TriageRole}},
	{"$JS.API.CONSUMER.CREATE.KV_posture.mine", []NATSRole{TriageRole, OperatorRole, GatewayRole}},
	{"$JS.API.CONSUMER.CREATE.KV_executed.mine", nil},

	// What nobody may: what was said stays on record.
	{"$JS.API.STREAM.DELETE.ACTIONS", nil},
	{"$JS.API.STREAM.PURGE.ACTIONS", nil},
	{"$JS.API.STREAM.PURGE.ACKS", nil},
	{"$JS.API.STREAM.MSG.DELETE.ACTIONS", nil},
	{"$JS.API.STREAM.DELETE.KV_posture", nil},
	{"$JS.API.STREAM.PURGE.KV_executed", nil},
	{"$JS.API.CONSUMER.DELETE.ACTIONS.store", nil},
	{"$JS.API.STREAM.NAMES", nil},
	{"$JS.API.CONSUMER.NAMES.ACTIONS", nil},
	{"$SYS.REQ.SERVER.PING", nil},
	{"_INBOX_triage.x", nil},
	{"stakeout.raw", nil},
}

// TestNATSRolesKeepApart has every role, by its key and over TLS, publish on
// every subject and listen where others are answered.
func TestNATSRolesKeepApart(t *testing.T) {
	ca := certs.New(t)
	n, err := StartNATS(NATSConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0",
		TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, "nats").Pair}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	tried := 0
	for _, role := range NATSRoles() {
		t.Run(string(role), func(t *testing.T) {
			v := violations(t, n, role, nats.RootCAs(ca.File))
			want := []string{}
			for _, r := range rights {
				v.publish(t, r.subject)
				if !slices.Contains(r.may, role) {
					want = append(want, `Publish to "`+r.subject+`"`)
				}
			}
			for _, other := range NATSRoles() {
				if other != role {
					v.subscribe(t, inbox(other)+".>")
					want = append(want, `Subscription to "`+inbox(other)+`.>"`)
				}
			}
			for _, subject := range []string{">", "stakeout.>", "$KV.>", "$JS.>", "_INBOX.>"} {
				v.subscribe(t, subject)
				want = append(want, `Subscription to "`+subject+`"`)
			}
			tried += len(want)
			if diff := cmp.Diff(want, v.all(t)); diff != "" {
				t.Errorf("what the server refuses (-want +got):\n%s", diff)
			}
		})
	}
	t.Logf("%d trespasses refused", tried)
}

// asked is a connection and what the server refused it, in order.
type asked struct {
	nc   *nats.Conn
	seen chan string
}

func violations(t *testing.T, n *NATS, role NATSRole, more ...nats.Option) asked {
	t.Helper()
	opts, err := n.Options(role)
	if err != nil {
		t.Fatal(err)
	}
	a := asked{seen: make(chan string, 1000)}
	opts = append(append(opts, more...), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { a.seen <- err.Error() }))
	if a.nc, err = nats.Connect(n.URL(), opts...); err != nil {
		t.Fatalf("connect as %s: %v", role, err)
	}
	t.Cleanup(a.nc.Close)
	if _, err := a.nc.TLSConnectionState(); err != nil {
		t.Errorf("connection of %s: %v", role, err)
	}
	return a
}

func (a asked) publish(t *testing.T, subject string) {
	t.Helper()
	if err := a.nc.Publish(subject, []byte("{}")); err != nil {
		t.Fatal(err)
	}
}

func (a asked) subscribe(t *testing.T, subject string) {
	t.Helper()
	if _, err := a.nc.SubscribeSync(subject); err != nil && !errors.Is(err, nats.ErrPermissionViolation) {
		t.Fatal(err)
	}
}

// all returns what was refused so far: the server answers in order, so what is
// refused last, to everybody, ends it.
func (a asked) all(t *testing.T) []string {
	t.Helper()
	const last = "nobody.may"
	a.publish(t, last)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	refused := []string{}
	for {
		select {
		case text := <-a.seen:
			if strings.Contains(text, `"`+last+`"`) {
				return refused
			}
			at := max(strings.Index(text, "Publish to "), strings.Index(text, "Subscription to "))
			if at < 0 {
				t.Fatalf("the server says %s", text)
			}
			refused = append(refused, text[at:])
		case <-ctx.Done():
			t.Fatal(fmt.Errorf("the server did not answer: %w; refused so far: %q", ctx.Err(), refused))
		}
	}
}
