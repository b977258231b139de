package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// NATSRole names a user of the embedded server.
type NATSRole string

// The roles.
const (
	TriageRole   NATSRole = "triage"   // makes streams and buckets, commands, records
	StoreRole    NATSRole = "store"    // reads outcomes
	ExecutorRole NATSRole = "executor" // takes commands, answers
	OperatorRole NATSRole = "operator" // reads everything, approves
	GatewayRole  NATSRole = "gateway"  // reads postures
)

// NATSRoles lists all roles.
func NATSRoles() []NATSRole {
	return []NATSRole{TriageRole, StoreRole, ExecutorRole, OperatorRole, GatewayRole}
}

// natsKeys are the keys of one role: one to log in with and another to sign
// with, because logging in signs whatever nonce the server chooses.
type natsKeys struct {
	userFile, user string // seed file and public key to log in with
	signFile, sign string // seed file and public key to sign with
}

// SeedFile returns the file with the seed that role logs in with.
func (n *NATS) SeedFile(role NATSRole) string { return n.keys[role].userFile }

// SigningFile returns the file with the seed that role signs with.
func (n *NATS) SigningFile(role NATSRole) string { return n.keys[role].signFile }

// SigningKey returns the public key that role signs with.
func (n *NATS) SigningKey(role NATSRole) string { return n.keys[role].sign }

// InboxPrefix returns where role receives answers; nobody else may listen there.
func (n *NATS) InboxPrefix(role NATSRole) string { return inbox(role) }

func inbox(role NATSRole) string { return "_INBOX_" + string(role) }

// Options returns what a client needs to connect as role.
func (n *NATS) Options(role NATSRole) ([]nats.Option, error) {
	login, err := nats.NkeyOptionFromSeed(n.SeedFile(role))
	if err != nil {
		return nil, fmt.Errorf("nats: keys of %s: %w", role, err)
	}
	return []nats.Option{login, nats.CustomInboxPrefix(inbox(role)), nats.Name(string(role))}, nil
}

// loadKeys reads the keys of all roles and makes those that are missing.
func loadKeys(dir string) (map[NATSRole]natsKeys, error) {
	if err := makePrivate(dir); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	all := map[NATSRole]natsKeys{}
	for _, role := range NATSRoles() {
		k := natsKeys{
			userFile: filepath.Join(dir, string(role)+".nk"),
			signFile: filepath.Join(dir, string(role)+".sign.nk"),
		}
		var err error
		if k.user, err = loadKey(k.userFile, nkeys.PrefixByteUser); err != nil {
			return nil, err
		}
		if k.sign, err = loadKey(k.signFile, nkeys.PrefixByteAccount); err != nil {
			return nil, err
		}
		all[role] = k
	}
	return all, nil
}

// loadKey reads or makes the seed in path and returns its public key. A new
// seed appears whole or not at all, and two that start at once agree on one.
func loadKey(path string, typ nkeys.PrefixByte) (public string, err error) {
	seed, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path, typ); err != nil {
			return "", fmt.Errorf("key %s: %w", path, err)
		}
		seed, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fmt.Errorf("key %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return "", fmt.Errorf("key %s: %w", path, err)
	}
	kp, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		return "", fmt.Errorf("key %s: %w", path, err)
	}
	if err := nkeys.CompatibleKeyPair(kp, typ); err != nil {
		return "", fmt.Errorf("key %s: %w", path, err)
	}
	return kp.PublicKey()
}

func makeKey(path string, typ nkeys.PrefixByte) (err error) {
	kp, err := nkeys.CreatePair(typ)
	if err != nil {
		return err
	}
	seed, err := kp.Seed()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(append(seed, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// permissions is the least that role needs. Names of streams, buckets and
// durable consumers stand here as text: this package knows nothing of ours.
func permissions(role NATSRole) *server.Permissions {
	var pub []string
	allow := func(subjects ...string) { pub = append(pub, subjects...) }
	// stream lets role look into a stream; bucket lets it read and watch a bucket.
	stream := func(name string) {
		allow("$JS.API.STREAM.INFO."+name, "$JS.API.DIRECT.GET."+name, "$JS.API.DIRECT.GET."+name+".>", "$JS.API.STREAM.MSG.GET."+name)
	}
	bucket := func(name string) {
		stream("KV_" + name)
		allow("$JS.API.CONSUMER.CREATE.KV_"+name+".>", "$JS.API.CONSUMER.INFO.KV_"+name+".>",
			"$JS.API.CONSUMER.DELETE.KV_"+name+".>", "$JS.FC.KV_"+name+".>")
	}
	write := func(bucket string) { allow("$KV." + bucket + ".>") }
	// consume lets role take messages from a durable consumer that triage made.
	consume := func(stream, name string) {
		allow("$JS.API.CONSUMER.INFO."+stream+"."+name, "$JS.API.CONSUMER.MSG.NEXT."+stream+"."+name, "$JS.ACK."+stream+"."+name+".>")
	}
	switch role {
	case TriageRole:
		allow("stakeout.action.>", "stakeout.outcome.>", "stakeout.case.>")
		for _, name := range []string{"ACTIONS", "ACKS", "KV_posture", "KV_incidents", "KV_actions", "KV_executed"} {
			stream(name)
			allow("$JS.API.STREAM.CREATE."+name, "$JS.API.STREAM.UPDATE."+name)
		}
		for _, name := range []string{"ACTIONS", "ACKS"} {
			allow("$JS.API.CONSUMER.CREATE."+name+".>", "$JS.API.CONSUMER.DURABLE.CREATE."+name+".>")
		}
		consume("ACKS", "triage")
		for _, name := range []string{"posture", "incidents", "actions"} {
			bucket(name)
			write(name)
		}
		allow("$JS.API.INFO")
	case StoreRole:
		stream("ACTIONS")
		stream("ACKS")
		consume("ACTIONS", "store")
		consume("ACTIONS", "cases")
		consume("ACTIONS", "audit")
		consume("ACKS", "audit")
	case ExecutorRole:
		stream("ACTIONS")
		for _, kind := range []string{"revoke_token", "page", "notify", "resolve", "risk_change", "signal", "quarantine_memory", "ticket", "canary"} {
			consume("ACTIONS", "executor-"+kind)
		}
		stream("KV_executed")
		write("executed")
		allow("stakeout.ack.*")
	case OperatorRole:
		stream("ACTIONS")
		stream("ACKS")
		bucket("posture")
		bucket("incidents")
		bucket("actions")
		allow("stakeout.approval.*")
	case GatewayRole:
		bucket("posture")
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: pub},
		Subscribe: &server.SubjectPermission{Allow: []string{inbox(role) + ".>"}},
	}
}
