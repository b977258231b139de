package chdb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Options say how to start an engine. Dir and Args must be given.
type Options struct {
	Dir       string   // data directory; it holds the password, too
	Args      []string // command line that calls [Child]; the first is the path of the binary
	Env       []string // added to the child's environment
	Library   string   // path of libchdb.so; empty: [Find]
	Listen    string   // loopback address; empty: 127.0.0.1:8123, or any port where that is taken
	User      string   // empty: stakeout
	MaxMemory int64    // bytes the engine may use; 0: 2 GiB

	MaxQueries int // that run at the same time; 0: 16
	Log        *slog.Logger
}

const (
	defaultListen    = "127.0.0.1:8123"
	defaultUser      = "stakeout"
	defaultMemory    = 2 << 30
	defaultQueries   = 16
	startTime        = time.Minute            // for the first answer
	firstRestartWait = 100 * time.Millisecond // doubled with every failure
	lastRestartWait  = 10 * time.Second
	healthyTime      = time.Minute // after which a crash counts as the first again
)

// An Engine is a ClickHouse engine in a child process, started again whenever it dies.
//
// The parent holds the listener, so the address stays the same and a request that
// arrives while the engine restarts waits for it instead of being refused.
type Engine struct {
	config   ServeConfig
	args     []string
	env      []string
	addr     string
	listener *os.File // inherited by every child
	log      *slog.Logger

	restarts atomic.Int64
	pid      atomic.Int64
	confined atomic.Bool
	stop     chan struct{} // closed by Close
	stopped  chan struct{} // closed when no child is left
	closing  sync.Once
}

// Start starts an engine and returns when it answers. Ctx bounds the start
// alone; [Engine.Close] ends the engine.
func Start(ctx context.Context, opt Options) (*Engine, error) {
	e, err := prepare(opt)
	if err != nil {
		return nil, fmt.Errorf("start the ClickHouse engine: %w", err)
	}
	died := make(chan error, 1)
	go e.supervise(died)
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- e.ping(ctx) }()
	select {
	case err = <-answered:
	case err = <-died:
		cancel()
		<-answered
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the ClickHouse engine: %w", err), e.Close())
	}
	return e, nil
}

// prepare does what comes before the first child.
func prepare(opt Options) (*Engine, error) {
	if opt.Dir == "" || len(opt.Args) == 0 {
		return nil, errors.New("no data directory or no command line")
	}
	if opt.Library == "" {
		path, err := Find()
		if err != nil {
			return nil, err
		}
		opt.Library = path
	}
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return nil, err
	}
	engineDir := filepath.Join(dir, "engine") // all that the engine may write to
	if err := os.MkdirAll(engineDir, 0o700); err != nil {
		return nil, err
	}
	password, err := password(filepath.Join(dir, "password"))
	if err != nil {
		return nil, err
	}
	ln, err := listen(opt.Listen)
	if err != nil {
		return nil, err
	}
	f, err := ln.File()
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Engine{
		config: ServeConfig{
			Library: opt.Library, Dir: engineDir, User: or(opt.User, defaultUser), Password: password,
			MaxMemory: or(opt.MaxMemory, defaultMemory), MaxQueries: or(opt.MaxQueries, defaultQueries),
		},
		args: opt.Args, env: opt.Env, addr: addr, listener: f, log: opt.Log,
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}, nil
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// listen opens the address, which must be this machine's own.
func listen(addr string) (*net.TCPListener, error) {
	chosen := addr != ""
	ln, err := net.Listen("tcp", or(addr, defaultListen))
	if !chosen && errors.Is(err, syscall.EADDRINUSE) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, err
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok || !tcp.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("listen on %s: not a loopback address", addr), ln.Close())
	}
	return tcp, nil
}

// password returns what the file holds; a new data directory gets a random one.
// It stays, so that whoever was told it (Grafana, a person's curl) is not locked
// out by a restart.
func password(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b = []byte(rand.Text() + "\n")
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		return "", err
	}
	p := strings.TrimSpace(string(b))
	if p == "" {
		return "", fmt.Errorf("%s is empty: remove it to get a new password", path)
	}
	return p, nil
}

// ping waits until the engine answers.
func (e *Engine) ping(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.addr+"/ping", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answers %s", resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}

// URL is where the engine answers, with user and password.
func (e *Engine) URL() string {
	u := url.URL{Scheme: "http", Host: e.addr, User: url.UserPassword(e.config.User, e.config.Password)}
	return u.String()
}

// Addr is the host and port at which the engine answers.
func (e *Engine) Addr() string { return e.addr }

// PasswordFile is the file that holds the password of the engine's one user.
func (e *Engine) PasswordFile() string { return filepath.Join(filepath.Dir(e.config.Dir), "password") }

// Restarts counts how often the engine died and was started again.
func (e *Engine) Restarts() int64 { return e.restarts.Load() }

// Confined tells whether the kernel keeps the engine from files that are not its
// own and from the network; see [confine].
func (e *Engine) Confined() bool { return e.confined.Load() }

// PID is the process that runs the engine now, or 0.
func (e *Engine) PID() int { return int(e.pid.Load()) }

// Close ends the engine: statements under way get some seconds to end.
func (e *Engine) Close() error {
	e.closing.Do(func() { close(e.stop) })
	<-e.stopped
	if err := e.listener.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
