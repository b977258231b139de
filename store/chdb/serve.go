package chdb

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

//go:embed config.xml
var configXML []byte

//go:embed users.xml
var usersXML []byte

// ServeConfig is what the process that runs the engine needs to know.
type ServeConfig struct {
	Library    string // path of libchdb.so
	Dir        string // data directory, of this process alone
	User       string
	Password   string
	MaxMemory  int64 // bytes that the engine may use
	MaxQueries int   // that run at the same time

	Patience time.Duration // how long it runs before it ends for a part that cannot be read
}

// closeTime is how long statements may take to end when the process is to stop.
const closeTime = 10 * time.Second

// Serve runs the engine in this process and answers on ln until ctx ends. An
// engine can be started once in a process.
func Serve(ctx context.Context, cfg ServeConfig, ln net.Listener, log *slog.Logger) (err error) {
	if cfg.User == "" || cfg.Password == "" || cfg.Dir == "" || cfg.MaxMemory <= 0 || cfg.MaxQueries <= 0 {
		return errors.New("serve the ClickHouse engine: user, password, directory, memory and queries must all be given")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return err
	}
	unlock, err := lock(ctx, filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	config, err := writeConfig(cfg.Dir)
	if err != nil {
		return err
	}
	lib, err := openLibrary(cfg.Library)
	if err != nil {
		return err
	}
	data := filepath.Join(cfg.Dir, "data")
	before, err := shelfOf(data)
	if err != nil {
		return err
	}
	s, err := newServer(lib, []string{
		"--path=" + data,
		"--config-file=" + config,
		fmt.Sprintf("--max_server_memory_usage=%d", cfg.MaxMemory),
	}, cfg, log)
	if err != nil {
		return err
	}
	if err := s.tidy(before); err != nil { // no reason not to serve: what is aside harms nobody
		log.Warn("what was set aside is not tidied up, and stays", "err", err)
	}
	// The engine is not closed, it ends with the process. What it has acknowledged is
	// on disk; closed, it would remove at once what its parts were merged from.
	watching, unwatch := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { s.watchWrites(watching) })
	defer watch.Wait()
	defer unwatch()

	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	log.Info("engine started", "version", s.version, "dir", cfg.Dir, "address", ln.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("serve the ClickHouse engine: %w", err)
	case err = <-s.broken:
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	if cut := srv.Shutdown(stop); cut != nil {
		// Closing the connections kills their statements; only then may the engine go.
		log.Warn("statements cut off", "err", errors.Join(cut, srv.Close()))
	}
	<-served
	s.drain()
	return err
}

// writeConfig writes the engine's configuration into dir and returns its path.
// The users file is named by its whole path: a relative one would be looked for
// in the working directory first.
func writeConfig(dir string) (path string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	users := filepath.Join(dir, "users.xml")
	var escaped bytes.Buffer
	if err := xml.EscapeText(&escaped, []byte(users)); err != nil {
		return "", err
	}
	path = filepath.Join(dir, "config.xml")
	config := bytes.Replace(configXML, []byte("users.xml"), escaped.Bytes(), 1)
	return path, errors.Join(os.WriteFile(users, usersXML, 0o600), os.WriteFile(path, config, 0o600))
}

// drain waits until no statement runs.
func (s *server) drain() {
	for range cap(s.slots) {
		s.slots <- struct{}{}
	}
}

// Child is the process that [Start] starts: it reads what to do from in, its
// standard input, serves on the listener that it inherited, and ends when ctx
// does or when in is closed, which happens when its parent dies in whatever way.
func Child(ctx context.Context, in io.Reader, log *slog.Logger) error {
	br := bufio.NewReader(in)
	line, err := br.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read what to serve: %w", err)
	}
	var cfg ServeConfig
	if err := json.Unmarshal(line, &cfg); err != nil {
		return fmt.Errorf("read what to serve: %w", err)
	}
	f := os.NewFile(listenerFD, "listener")
	ln, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("take over the listener: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("take over the listener: %w", err)
	}
	ctx, release := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		_, err := io.Copy(io.Discard, br)
		cancel(errors.Join(errors.New("the parent is gone"), err))
	}()
	return Serve(ctx, cfg, ln, log)
}

// listenerFD is the descriptor under which a child finds its listener.
const listenerFD = 3
