package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// KafkaConfig says where the embedded Kafka broker listens and keeps its logs.
type KafkaConfig struct {
	Dir    string `koanf:"dir"`    // holds the logs across restarts; empty keeps them in memory only
	Listen string `koanf:"listen"` // host:port; a port that is taken falls back to a free one

	// Advertise is the host:port that clients are told to connect to, where that
	// is another than the one it listens on: a proxy. It goes unchecked.
	Advertise string `koanf:"advertise"`

	// TopicBytes caps what one topic keeps, over all its partitions. The broker
	// reads all of it when it starts, a gigabyte in one to two seconds.
	// Compacted topics are not cut: what they keep is bounded by their keys.
	TopicBytes int64 `koanf:"topic_bytes"`

	// CleanInterval is how often retention and compaction run.
	CleanInterval time.Duration `koanf:"clean_interval"`
}

// DefaultKafkaConfig keeps at most 256 MiB per topic, in memory, on Kafka's usual port.
func DefaultKafkaConfig() KafkaConfig {
	return KafkaConfig{Listen: "127.0.0.1:9092", TopicBytes: 256 << 20, CleanInterval: time.Minute}
}

// Validate names every setting that cannot be used.
func (c KafkaConfig) Validate() error {
	var errs []error
	if host, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: is %q, want host:port", c.Listen))
	} else if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		errs = append(errs, fmt.Errorf("listen: is %q, want a loopback address: the embedded broker has no access control", c.Listen))
	}
	if c.TopicBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("topic_bytes: is %d, want 1048576 or more", c.TopicBytes))
	}
	if c.CleanInterval < time.Millisecond {
		errs = append(errs, fmt.Errorf("clean_interval: is %s, want 1ms or more", c.CleanInterval))
	}
	return errors.Join(errs...)
}

// Kafka is a running embedded broker that speaks the Kafka protocol.
type Kafka struct {
	cluster *kfake.Cluster
	ln      net.Listener
	addr    string
	lock    *os.File
	failure *failure
	stop    context.CancelFunc
	close   sync.Once
}

// StartKafka starts the broker. When the port it should listen on is taken it
// listens on a free one and logs that; [Kafka.Addr] tells which.
func StartKafka(cfg KafkaConfig, log *slog.Logger) (_ *Kafka, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("start embedded kafka: %w", err)
	}
	k := &Kafka{failure: newFailure()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start embedded kafka: %w", err), k.unlock())
		}
	}()
	if cfg.Dir != "" {
		if k.lock, err = Lock(cfg.Dir); err != nil {
			return nil, err
		}
		if err := errors.Join(repairIndexes(cfg.Dir), repairSequences(cfg.Dir)); err != nil {
			return nil, err
		}
	}
	ln, err := listen(cfg.Listen, log)
	if err != nil {
		return nil, err
	}
	bound := ln.Addr()
	if cfg.Advertise != "" {
		at, err := net.ResolveTCPAddr("tcp", cfg.Advertise)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("advertise: %w", err), ln.Close())
		}
		ln = advertised{ln, at}
	}
	// One broker asks for one listener, so the address it names can be ignored.
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("stakeout-local"),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return ln, nil }),
		kfake.GroupMinSessionTimeout(minSession),
		kfake.GroupMaxSessionTimeout(maxSession),
		kfake.WithLogger(kafkaLog{log, k.failure}),
		kfake.BrokerConfigs(map[string]string{
			"log.cleaner.backoff.ms": strconv.FormatInt(cfg.CleanInterval.Milliseconds(), 10),
		}),
	}
	if cfg.Dir != "" {
		opts = append(opts, kfake.DataDir(cfg.Dir))
	}
	if k.cluster, err = kfake.NewCluster(opts...); err != nil {
		return nil, errors.Join(err, closeListener(ln))
	}
	k.ln, k.addr = ln, ln.Addr().String()
	k.cluster.ControlKey(int16(kmsg.CreateTopics), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.cluster.KeepControl()
		if r, ok := req.(*kmsg.CreateTopicsRequest); ok {
			for i := range r.Topics {
				capRetention(&r.Topics[i], cfg.TopicBytes)
			}
		}
		return nil, nil, false
	})
	watching, stop := context.WithCancel(context.Background())
	k.stop = stop
	watchSeats(watching, k.cluster, bound, log)
	log.Info("embedded kafka started", "addr", k.addr, "dir", cfg.Dir)
	return k, nil
}

// advertised is a listener that says it is somewhere else.
type advertised struct {
	net.Listener
	at net.Addr
}

func (a advertised) Addr() net.Addr { return a.at }

// Addr is the host:port that clients connect to.
func (k *Kafka) Addr() string { return k.addr }

// Failed tells of a write that failed, with an [ErrCannotWrite]. The broker stands
// still from then on, and is to be closed.
func (k *Kafka) Failed() <-chan error { return k.failure.told }

// Close saves what is open and stops the broker. Close consumers and producers
// first: what they would still commit is refused afterwards. A broker that failed
// saves nothing: it is left as a crash would leave it.
func (k *Kafka) Close() (err error) {
	k.close.Do(func() {
		k.stop()
		if k.failure.close() {
			err = k.ln.Close()
		} else {
			k.cluster.Close()
		}
		close(k.failure.closed)
		err = errors.Join(err, k.unlock())
	})
	return err
}

func (k *Kafka) unlock() error {
	if k.lock == nil {
		return nil
	}
	if err := k.lock.Close(); err != nil {
		return fmt.Errorf("unlock %s: %w", k.lock.Name(), err)
	}
	return nil
}

// Lock makes a data directory, if it is not there, and takes it for this process
// until the file is closed: two brokers over one directory would write over each
// other's logs. The kernel drops the lock with the process.
func Lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s is in use by another process: %w", dir, err), f.Close())
	}
	return f, nil
}

func listen(addr string, log *slog.Logger) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return ln, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if ln, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		return nil, err
	}
	log.Warn("port is taken, another one is used", "wanted", addr, "addr", ln.Addr().String())
	return ln, nil
}

// closeListener closes what a failed start may have closed already.
func closeListener(ln net.Listener) error {
	if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// capRetention writes into a topic that is being made what the broker would
// otherwise get wrong: its cleaner looks only at topics that set a retention,
// and it would empty a compacted topic after a week.
func capRetention(t *kmsg.CreateTopicsRequestTopic, topicBytes int64) {
	setting := func(name string) *kmsg.CreateTopicsRequestTopicConfig {
		for i := range t.Configs {
			if t.Configs[i].Name == name {
				return &t.Configs[i]
			}
		}
		return nil
	}
	add := func(name, value string) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, &value
		t.Configs = append(t.Configs, c)
	}
	if p := setting("cleanup.policy"); p != nil && p.Value != nil && strings.Contains(*p.Value, "compact") {
		if setting("retention.ms") == nil {
			add("retention.ms", "-1")
		}
		if !strings.Contains(*p.Value, "delete") {
			return
		}
	}
	limit := topicBytes / int64(max(1, t.NumPartitions))
	value := strconv.FormatInt(limit, 10)
	c := setting("retention.bytes")
	if c == nil {
		add("retention.bytes", value)
		return
	}
	if c.Value == nil {
		c.Value = &value
		return
	}
	// A value that is no number is left for the broker to refuse.
	if n, err := strconv.ParseInt(*c.Value, 10, 64); err == nil && (n < 0 || n > limit) {
		c.Value = &value
	}
}

// kafkaLog hands the broker's warnings on. What it says about single requests
// and connections is of no use to an operator.
type kafkaLog struct {
	log     *slog.Logger
	failure *failure
}

func (l kafkaLog) Logf(level kfake.LogLevel, msg string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("embedded kafka", "msg", fmt.Sprintf(msg, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("embedded kafka", "msg", fmt.Sprintf(msg, args...))
		l.failure.hear(msg, args)
	}
}
