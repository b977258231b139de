package main_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/stakeout-project/stakeout/deploy/certs"
)

// secret is in every password of these tests, so that it is found wherever one is shown.
const secret = "geheim"

// TestSecureKafka runs a role against a broker that wants TLS and SCRAM. With
// everything right it becomes ready; with one thing wrong it ends, soon, and says
// which setting to look at.
func TestSecureKafka(t *testing.T) {
	ca, stranger := certs.New(t), certs.New(t)
	broker := func(c certs.Certificate) string {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "stakeout", secret),
			kfake.TLS(&tls.Config{Certificates: []tls.Certificate{c.Pair}}))
		check(t, err)
		t.Cleanup(cluster.Close)
		return cluster.ListenAddrs()[0]
	}
	good, expired := broker(ca.Issue(t, "kafka")), broker(ca.Expired(t, "kafka"))
	password := func(text string) string {
		file := filepath.Join(t.TempDir(), "password")
		check(t, os.WriteFile(file, []byte(text+"\n"), 0o600))
		return file
	}
	right := func() settings {
		return settings{
			"brokers": []string{good}, "tls": settings{"enabled": true, "ca_file": ca.File},
			"sasl": settings{"mechanism": "scram-sha-512", "username": "stakeout", "password_file": password(secret)},
		}
	}
	start := func(t *testing.T, kafka settings, env ...string) *process {
		return begin(t, env, "ingest", "--config", settings{"http": settings{"listen": "127.0.0.1:0"}, "kafka": kafka, "log": settings{"level": "debug"}}.write(t))
	}
	silent := func(t *testing.T, p *process) {
		if strings.Contains(p.log(), secret) {
			t.Errorf("the log shows a password:\n%s", p.log())
		}
	}

	t.Run("right", func(t *testing.T) {
		p := start(t, right())
		p.ready()
		p.stop()
		silent(t, p)
	})
	t.Run("right by the environment", func(t *testing.T) {
		k := right()
		k["sasl"] = settings{"mechanism": "scram-sha-512", "username": "stakeout", "password_env": "KAFKA_PASSWORD"}
		p := start(t, k, "KAFKA_PASSWORD="+secret)
		p.ready()
		p.stop()
		silent(t, p)
	})
	f := func(name, want string, change func(settings)) {
		t.Run(name, func(t *testing.T) {
			k := right()
			change(k)
			p := start(t, k)
			if code := p.wait(10 * time.Second); code != 1 {
				t.Errorf("exit status %d, want 1", code)
			}
			if !strings.Contains(p.log(), want) {
				t.Errorf("it does not say %q", want)
			}
			silent(t, p)
		})
	}
	f("wrong authority", "(tls.ca_file holds another authority", func(k settings) { k["tls"] = settings{"enabled": true, "ca_file": stranger.File} })
	f("expired certificate", "kafka at "+expired+": ", func(k settings) { k["brokers"] = []string{expired} })
	f("wrong user", `(the broker does not know the user "nobody"`, func(k settings) { k["sasl"].(settings)["username"] = "nobody" })
	f("wrong password", `(the broker does not know the user "stakeout"`, func(k settings) { k["sasl"].(settings)["password_file"] = password(secret + "x") })
	f("no such password", "sasl.password_file: open ", func(k settings) { k["sasl"].(settings)["password_file"] = "/nowhere" })
}

// TestSecretsAreNotShown gives secrets in every way there is, and looks for them
// in what is printed, also of what is wrong.
func TestSecretsAreNotShown(t *testing.T) {
	env := []string{"STAKEOUT_STORE__PASSWORD=" + secret, "KAFKA_PASSWORD=" + secret}
	sasl := []string{"--set", "kafka.sasl.mechanism=plain", "--set", "kafka.sasl.username=u", "--set", "kafka.sasl.password_env=KAFKA_PASSWORD"}
	f := func(code int, want string, args ...string) {
		t.Helper()
		r := stakeoutWith(t, env, nil, append(args, sasl...)...)
		if r.code != code || !strings.Contains(r.out+r.err, want) {
			t.Errorf("%q: exit status %d, want %d and %q\n%s%s", args, r.code, code, want, r.out, r.err)
		}
		if strings.Contains(r.out+r.err, secret) {
			t.Errorf("%q shows a secret:\n%s%s", args, r.out, r.err)
		}
	}
	in := fmt.Sprintf
	f(0, "(hidden)", "config")
	f(0, "https://u:xxxxx@ch.example", "config", "--set", in("store.url=https://u:%s@ch.example", secret))
	f(1, "store.password_file: ", "config", "--set", "store.password_file=/nowhere")
	f(1, "store.url: ", "config", "--set", in("store.url=http://u:%s@ch.example", secret))
	f(1, "store.url: ", "config", "--set", in("store.url=ftp://u:%s@ch.example", secret))
	f(1, "store.url: ", "config", "--set", in("store.url=http://u:%s@:x", secret))
	f(1, "executor.nats.url: ", "config", "--set", in("executor.nats.url=nats://u:%s@127.0.0.1", secret))
	f(1, "executor.nats.url: ", "config", "--set", in("executor.nats.url=nats://u:%s@", secret))
	f(1, "store.batch_rows: ", "config", "--set", "store.batch_rows=x")
	// A question to a store that is not there.
	f(1, "clickhouse at 127.0.0.1:1: ", "findings", "--set", in("store.url=http://u:%s@127.0.0.1:1", secret), "--set", "store.password=")
}

// TestStrangersAreKeptOut names an address of each part that other machines
// reach, without what would keep them from reading it.
func TestStrangersAreKeptOut(t *testing.T) {
	f := func(want, key, value string, args ...string) {
		t.Helper()
		r := stakeout(t, append([]string{"config", "--set", key + "=" + value}, args...)...)
		if r.code != 1 || !strings.Contains(r.err, key+": ") || !strings.Contains(r.err, want) {
			t.Errorf("%s=%s: exit status %d, want 1 and %q\n%s", key, value, r.code, want, r.err)
		}
	}
	f("want tls.enabled: true", "kafka.brokers", "10.0.0.1:9092")
	for _, role := range []string{"triage", "actions", "executor", "operator"} {
		f("want tls://, ca_file, or insecure: true", role+".nats.url", "nats://10.0.0.1:4222")
	}
	f("want https://", "store.url", "http://10.0.0.1:8123")
	f("want https://", "store.url", "clickhouse://10.0.0.1:9000")
	f("want 127.0.0.1:PORT, or http.insecure: true", "http.listen", "0.0.0.0:9600")
	f("want an address of this machine", "up.kafka", "0.0.0.0:9092")
	f("want an address of this machine", "up.nats", "0.0.0.0:4222")
	f("want an address of this machine", "up.clickhouse", "0.0.0.0:8123")
}
