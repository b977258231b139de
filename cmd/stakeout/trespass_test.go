package main_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/stakeout-project/stakeout/deploy/certs"
	parts "github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// TestTrespass has somebody who holds triage's login, but not the key that it
// signs with, command a running executor over TLS: by stolen, altered, old and
// forged commands. Nothing is revoked, each is counted, and the log says why.
func TestTrespass(t *testing.T) {
	d := newDoor(t)
	const id = "a1"
	d.idp.Issue("other")
	token := d.idp.Issue("jti-1")
	check(t, os.WriteFile(filepath.Join(d.vault, command.Token("jti-1")), []byte(token), 0o600))
	good := func() *nats.Msg { return d.sign(d.triage, d.action(id), 1) }

	// Each field of the envelope and of the action, changed as it stands.
	fields := leavesOf(t, good().Data)
	if len(fields) < 20 {
		t.Fatalf("a command has %d fields only: %q", len(fields), fields)
	}
	for _, path := range fields {
		m := good()
		m.Data = changed(t, m.Data, path)
		d.send(m)
	}
	d.refused(len(fields), "signature does not fit subject and content")

	n := len(fields)
	f := func(why string, m *nats.Msg) {
		t.Helper()
		d.send(m)
		n++
		d.refused(n, why)
	}
	another := good()
	another.Subject = command.ActionSubject(command.RevokeToken, "another-agent")
	f("signature does not fit subject and content", another)
	paged := d.action("a2")
	paged.Kind = command.Page
	kind := d.sign(d.triage, paged, 1)
	kind.Subject = good().Subject // signed for the executor of another kind
	f("signature does not fit subject and content", kind)
	f("signed by a key that is not trusted for this", d.sign(stranger(t), d.action("a3"), 1))
	executor, err := command.ReadSigner(d.nats.SigningFile(parts.ExecutorRole))
	check(t, err)
	f("signed by a key that is not trusted for this", d.sign(executor, d.action("a4"), 1))
	unsigned := good()
	unsigned.Header.Del(command.SignatureHeader)
	f("not signed", unsigned)

	old := d.action("a5")
	old.Expires = event.At(time.Now().Add(-time.Second))
	d.send(d.sign(d.triage, old, 1))
	d.counted("expired", 1, "expired")
	if !d.idp.Active(token) || d.idp.Revocations() != 0 {
		t.Fatalf("after %d forgeries the token is active: %t, with %d revocations", n+1, d.idp.Active(token), d.idp.Revocations())
	}

	d.send(good())
	d.counted("verified", 1, `status=verified`)
	if d.idp.Active(token) || d.idp.Revocations() != 1 {
		t.Errorf("after the command the token is active: %t, with %d revocations", d.idp.Active(token), d.idp.Revocations())
	}
	d.send(good()) // the same once more, byte for byte
	d.send(d.sign(d.triage, d.action(id), 2))
	d.counted("repeated", 2, "")
	if got := d.idp.Revocations(); got != 1 {
		t.Errorf("a replayed command was carried out: %d revocations, want 1", got)
	}
	d.refused(n, "")
	d.executor.stop()
}

// door is a running executor and who stands before it.
type door struct {
	t        *testing.T
	nats     *parts.NATS
	idp      *parts.IDP
	vault    string
	js       jetstream.JetStream // as triage
	triage   *command.Signer
	executor *pipeline
}

func newDoor(t *testing.T) *door {
	t.Helper()
	ca := certs.New(t)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	dir := t.TempDir()
	d := &door{t: t, vault: filepath.Join(dir, "vault")}
	check(t, os.Mkdir(d.vault, 0o700))
	var err error
	d.nats, err = parts.StartNATS(parts.NATSConfig{Dir: filepath.Join(dir, "nats"), Listen: "127.0.0.1:0",
		TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, "nats").Pair}}}, log)
	check(t, err)
	t.Cleanup(d.nats.Close)
	d.idp, err = parts.StartIDP(parts.DefaultIDPConfig())
	check(t, err)
	t.Cleanup(func() { check(t, d.idp.Close()) })
	secret := filepath.Join(dir, "secret")
	check(t, os.WriteFile(secret, []byte(d.idp.Secret()), 0o600))

	as := func(r parts.NATSRole) command.NATSConfig {
		return command.NATSConfig{URL: d.nats.URL(), SeedFile: d.nats.SeedFile(r), InboxPrefix: d.nats.InboxPrefix(r), CAFile: ca.File}
	}
	nc, err := command.Connect(as(parts.TriageRole), "test", log)
	check(t, err)
	t.Cleanup(nc.Close)
	d.js, err = jetstream.New(nc)
	check(t, err)
	check(t, command.Provision(t.Context(), d.js, command.DefaultLayout()))
	d.triage, err = command.ReadSigner(d.nats.SigningFile(parts.TriageRole))
	check(t, err)

	c := as(parts.ExecutorRole)
	file := settings{
		"http": settings{"listen": "127.0.0.1:0"},
		"executor": settings{
			"nats":        settings{"url": c.URL, "seed_file": c.SeedFile, "inbox_prefix": c.InboxPrefix, "ca_file": c.CAFile},
			"signing_key": d.nats.SigningFile(parts.ExecutorRole), "trust": settings{"triage": d.nats.SigningKey(parts.TriageRole)},
		},
		"oauth": settings{"vault": d.vault, "server": settings{"revoke_url": d.idp.URL() + "/revoke", "introspect_url": d.idp.URL() + "/introspect",
			"client_id": d.idp.ClientID(), "secret_file": secret}},
	}.write(t)
	d.executor = &pipeline{process: begin(t, nil, "executor", "--config", file)}
	d.executor.health = d.executor.url()
	d.executor.ready()
	return d
}

func (d *door) action(id string) command.Action {
	now := time.Now()
	return command.Action{ID: id, Incident: "i", Kind: command.RevokeToken, Mode: command.Auto, Policy: "p", Reason: "r",
		Target:   command.Target{Agent: "a", Session: "s", User: "u", Credential: "jti-1", Issuer: "iss", Subject: "sub"},
		Findings: []string{"f1", "f2"}, Severity: 4,
		Occurred: event.At(now), Ingested: event.At(now), Found: event.At(now), Decided: event.At(now), Expires: event.At(now.Add(time.Minute))}
}

func (d *door) sign(by *command.Signer, a command.Action, attempt int) *nats.Msg {
	d.t.Helper()
	m, err := command.EncodeAction(by, a, attempt)
	check(d.t, err)
	return m
}

// send publishes without the id by which the server would drop what it has seen.
func (d *door) send(m *nats.Msg) {
	d.t.Helper()
	m.Header.Del(nats.MsgIdHdr)
	_, err := d.js.PublishMsg(d.t.Context(), m)
	check(d.t, err)
}

// counted waits until a result was counted so often, and the log says why.
func (d *door) counted(result string, want int, why string) {
	d.t.Helper()
	eventually(d.t, 20*time.Second, func() error {
		if got := d.executor.metric("stakeout_executor_commands_total", `kind="revoke_token"`, `result="`+result+`"`); got != want {
			return fmt.Errorf("%d commands %s, want %d", got, result, want)
		}
		if !strings.Contains(d.executor.log(), why) {
			return fmt.Errorf("the log does not say %q", why)
		}
		return nil
	})
}

func (d *door) refused(want int, why string) {
	d.t.Helper()
	d.counted("refused", want, why)
}

func stranger(t *testing.T) *command.Signer {
	t.Helper()
	kp, err := nkeys.CreateAccount()
	check(t, err)
	seed, err := kp.Seed()
	check(t, err)
	s, err := command.NewSigner(seed)
	check(t, err)
	return s
}

// leavesOf names every value of a JSON object, however deep.
func leavesOf(t *testing.T, data []byte) (paths []string) {
	t.Helper()
	var all map[string]any
	check(t, json.Unmarshal(data, &all))
	var visit func(path string, v any)
	visit = func(path string, v any) {
		if m, ok := v.(map[string]any); ok {
			for k, v := range m {
				visit(strings.TrimPrefix(path+"/"+k, "/"), v)
			}
			return
		}
		paths = append(paths, path)
	}
	visit("", all)
	return paths
}

// changed is a JSON object with another value at a path.
func changed(t *testing.T, data []byte, path string) []byte {
	t.Helper()
	var all map[string]any
	check(t, json.Unmarshal(data, &all))
	at, keys := all, strings.Split(path, "/")
	for _, k := range keys[:len(keys)-1] {
		at = at[k].(map[string]any)
	}
	switch v := at[keys[len(keys)-1]].(type) {
	case string:
		at[keys[len(keys)-1]] = v + "x"
	case float64:
		at[keys[len(keys)-1]] = v + 1
	case []any:
		at[keys[len(keys)-1]] = v[1:]
	default:
		t.Fatalf("%s is a %T", path, v)
	}
	out, err := json.Marshal(all)
	check(t, err)
	return out
}
