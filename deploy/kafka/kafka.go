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
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
)

// stopTimeout is how long a broker may take to stop before it is killed.
const stopTimeout = 20 * time.Second

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

// format writes the configuration and makes the storage ready.
func (b *Broker) format(ctx context.Context) error {
	settings := map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          "1",
		"listeners":                                        fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", b.port, b.controller),
		"advertised.listeners":                             fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", b.port),
		"listener.security.protocol.map":                   "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"controller.listener.names":                        "CONTROLLER",
		"controller.quorum.bootstrap.servers":              fmt.Sprintf("127.0.0.1:%d", b.controller),
		"log.dirs":                                         filepath.Join(b.opts.Dir, "data"),
		"auto.create.topics.enable":                        "false",
		"offsets.topic.num.partitions":                     "4",
		"offsets.topic.replication.factor":                 "1",
		"transaction.state.log.num.partitions":             "4",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		"broker.session.timeout.ms":                        "3000",
		"broker.heartbeat.interval.ms":                     "500",
		"group.initial.rebalance.delay.ms":                 "0",
		"group.min.session.timeout.ms":                     "1000",
		"log.cleaner.backoff.ms":                           "100",
		"log.initial.task.delay.ms":                        "100",
		"log.retention.check.interval.ms":                  "200",
	}
	format := []string{"format", "--standalone", "--ignore-formatted",
		"-t", "c3Rha2VvdXQtbG9jYWwtMQ", "-c", filepath.Join(b.opts.Dir, "server.properties")}
	if b.sasl != 0 {
		format = append(format, b.addUsers(settings)...)
	}
	for k, v := range b.opts.Settings {
		settings[k] = v
	}
	var text strings.Builder
	for k, v := range settings {
		fmt.Fprintf(&text, "%s=%s\n", k, strings.ReplaceAll(v, `\`, `\\`))
	}
	const logging = "rootLogger.level=warn\nrootLogger.appenderRef.out.ref=out\n" +
		"appender.out.type=Console\nappender.out.name=out\nappender.out.layout.type=PatternLayout\n" +
		"appender.out.layout.pattern=%d{ISO8601} %p %c{1} %m%n\n"
	if err := os.MkdirAll(b.opts.Dir, 0o700); err != nil {
		return err
	}
	for name, content := range map[string]string{"server.properties": text.String(), "log4j2.properties": logging} {
		if err := os.WriteFile(filepath.Join(b.opts.Dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	if out, err := runWithin(ctx, b.command("kafka.tools.StorageTool", format...)); err != nil {
		return fmt.Errorf("format storage: %w: %s", err, out)
	}
	return nil
}

// addUsers adds a listener that wants authentication, and returns what makes
// the storage know the users. PLAIN has them in the settings, SCRAM in the storage.
func (b *Broker) addUsers(settings map[string]string) (format []string) {
	const modules = "org.apache.kafka.common.security."
	listen := func(name, protocol string, port int) {
		listener := fmt.Sprintf(",%s://127.0.0.1:%d", name, port)
		settings["listeners"] += listener
		settings["advertised.listeners"] += listener
		settings["listener.security.protocol.map"] += "," + name + ":" + protocol
	}
	listen("SASL", "SASL_PLAINTEXT", b.sasl)
	for name, port := range b.tls {
		listen(strings.ToUpper(name), "SASL_SSL", port)
		ours := "listener.name." + strings.ToLower(name) + "."
		settings[ours+"ssl.keystore.type"] = "PEM"
		settings[ours+"ssl.keystore.location"] = b.opts.KeyStores[name]
		settings[ours+"sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
		settings[ours+"scram-sha-512.sasl.jaas.config"] = modules + "scram.ScramLoginModule required;"
	}
	settings["sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
	plain := modules + "plain.PlainLoginModule required"
	for name, password := range b.opts.Users {
		plain += fmt.Sprintf(" user_%s=%q", name, password)
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			format = append(format, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, name, password))
		}
	}
	settings["listener.name.sasl.plain.sasl.jaas.config"] = plain + ";"
	for _, mechanism := range []string{"scram-sha-256", "scram-sha-512"} {
		settings["listener.name.sasl."+mechanism+".sasl.jaas.config"] = modules + "scram.ScramLoginModule required;"
	}
	return format
}

func (b *Broker) command(class string, args ...string) *exec.Cmd {
	return exec.Command(b.java, append([]string{
		"-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dlog4j2.configurationFile=" + filepath.Join(b.opts.Dir, "log4j2.properties"),
		"-cp", filepath.Join(b.jars, "*"), class,
	}, args...)...)
}

// Restart starts a broker that is down and waits until it answers or ctx ends.
func (b *Broker) Restart(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process != nil {
		return errors.New("start kafka: it is running")
	}
	out, err := os.OpenFile(b.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	cmd := b.command("kafka.Kafka", filepath.Join(b.opts.Dir, "server.properties"))
	cmd.Stdout, cmd.Stderr = out, out
	exited := make(chan struct{})
	started := make(chan error, 1)
	go func() {
		defer close(exited)
		err := runTied(cmd, started)
		b.exitErr = errors.Join(err, out.Close())
	}()
	if err := <-started; err != nil {
		<-exited
		return fmt.Errorf("start kafka: %w", err)
	}
	b.process, b.exited = cmd.Process, exited
	if err := b.wait(ctx, exited); err != nil {
		return fmt.Errorf("start kafka: %w: %s", errors.Join(err, b.end(syscall.SIGKILL)), b.tail())
	}
	b.opts.Log.Info("kafka started", "addr", b.Addr(), "pid", cmd.Process.Pid)
	return nil
}

// wait returns when the broker answers, and with an error when it ends first.
func (b *Broker) wait(ctx context.Context, exited <-chan struct{}) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if answers(ctx, b.Addr()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-exited:
			return errors.New("the process ended")
		case <-tick.C:
		}
	}
}

// answers reports whether a broker at addr knows its controller.
func answers(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := kafka.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return false
	}
	brokers, err := conn.Brokers()
	return err == nil && len(brokers) > 0
}

// Stop ends the broker as an operator would, and kills it when that takes too
// long. A paused broker is resumed first. It is no error when it is down.
func (b *Broker) Stop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end(syscall.SIGCONT, syscall.SIGTERM)
}

// Kill ends the broker at once, as a crash of the process does.
func (b *Broker) Kill() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end(syscall.SIGKILL)
}

func (b *Broker) end(signals ...os.Signal) error {
	if b.process == nil {
		return nil
	}
	for _, s := range signals {
		if err := b.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop kafka: %w", err)
		}
	}
	select {
	case <-b.exited:
	case <-time.After(stopTimeout):
		b.opts.Log.Warn("kafka does not stop, killing it", "pid", b.process.Pid)
		if err := b.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop kafka: %w", err)
		}
		<-b.exited
	}
	b.process = nil
	var exit *exec.ExitError
	if b.exitErr != nil && !errors.As(b.exitErr, &exit) {
		return fmt.Errorf("stop kafka: %w", b.exitErr)
	}
	return nil // however it ended, it was told to
}

// Ended reports whether the broker ended by itself, as it does when it can no
// longer write to its disk. [Broker.Kill] and [Broker.Restart] bring it back.
func (b *Broker) Ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process == nil {
		return false
	}
	select {
	case <-b.exited:
		return true
	default:
		return false
	}
}

// Pause stops the process without ending it: connections stay and nothing
// answers.
func (b *Broker) Pause() error { return b.signal(syscall.SIGSTOP) }

// Resume continues a paused process.
func (b *Broker) Resume() error { return b.signal(syscall.SIGCONT) }

func (b *Broker) signal(s os.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process == nil {
		return errors.New("signal kafka: it is down")
	}
	return b.process.Signal(s)
}

func (b *Broker) logFile() string { return filepath.Join(b.opts.Dir, "server.log") }

// tail is the end of what the broker wrote.
func (b *Broker) tail() string {
	text, err := os.ReadFile(b.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// freePorts sets ports that are free and differ: all are held until all are found.
func freePorts(ports []*int) (err error) {
	for _, p := range ports {
		ln, lerr := net.Listen("tcp", "127.0.0.1:0")
		if lerr != nil {
			return errors.Join(err, lerr)
		}
		defer func() { err = errors.Join(err, ln.Close()) }()
		*p = ln.Addr().(*net.TCPAddr).Port
	}
	return nil
}
