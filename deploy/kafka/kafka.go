// Package kafka runs a real Apache Kafka broker, for tests of what only a real
// broker does. Its jars come from Maven, once per version, into the user's
// cache. It needs java (17 or later) and mvn.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
)

// Options say where a broker keeps its data and what it is told.
type Options struct {
	Dir      string            // of the data and the log; one broker at a time
	Log      *slog.Logger      // for starting and stopping
	Settings map[string]string // added to server.properties, or in place of ours
	Users    map[string]string // passwords by name, for [Broker.SASLAddr]

	// KeyStores are PEM files of a key and its certificate, by the name of the
	// listener that shows it. See [Broker.TLSAddr]; they need users.
	KeyStores map[string]string
}

// A Broker is one Kafka process that is broker and controller at once. It
// listens on loopback, on ports that stay the same over restarts.
type Broker struct {
	opts       Options
	jars       string
	java       string
	port       int
	controller int
	sasl       int            // 0 without users
	tls        map[string]int // by the name of the listener

	mu      sync.Mutex
	process *os.Process // nil when it is down
	exited  chan struct{}
	exitErr error
}

// Start starts a broker and waits until it answers or ctx ends. When java or mvn
// are not there the error says so and is [exec.ErrNotFound].
func Start(ctx context.Context, opts Options) (*Broker, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("start kafka: a Java runtime, 17 or later: %w", err)
	}
	libs, err := jars(ctx, opts.Log)
	if err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	b := &Broker{opts: opts, jars: libs, java: java, tls: map[string]int{}}
	ports := []*int{&b.port, &b.controller}
	if len(opts.Users) > 0 {
		ports = append(ports, &b.sasl)
	} else if len(opts.KeyStores) > 0 {
		return nil, errors.New("start kafka: key stores without users")
	}
	secure := map[string]*int{}
	for name := range opts.KeyStores {
		secure[name] = new(int)
		ports = append(ports, secure[name])
	}
	if err := freePorts(ports); err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	for name, port := range secure {
		b.tls[name] = *port
	}
	if err := b.format(ctx); err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	return b, b.Restart(ctx)
}

// Addr is the host:port the broker answers on.
func (b *Broker) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)) }

// SASLAddr is where the broker answers whoever authenticates as one of the
// users, with PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, without encryption.
func (b *Broker) SASLAddr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.sasl)) }

// TLSAddr is where the broker shows the key store of that name and answers
// whoever authenticates as one of the users with SCRAM-SHA-512.
func (b *Broker) TLSAddr(name string) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.tls[name]))
}
