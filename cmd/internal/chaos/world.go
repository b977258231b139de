package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/deploy/kafka"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// The session timeout is short, so that a process can be frozen for longer.
const sessionTimeout = 3 * time.Second

// A world is the pipeline under test: servers, proxies before them, and roles.
type world struct {
	cfg     Config
	log     *slog.Logger
	app     app.Config
	servers []part
	roles   []part
	proxies map[string]*proxy
	disks   map[string]*disk // of the servers; none where the machine gives none
	keep    bool             // what is on the disks, when they are closed
	idle    func() error     // closes what is not a part

	kafkaData string // directory of the broker's logs
	kafkaAddr string // that clients are told
	nats      struct {
		URL   string                       `json:"url"`
		Roles map[string]map[string]string `json:"roles"`
	}
	click struct {
		Addr, User   string
		PasswordFile string `json:"password_file"`
	}
}

// build starts everything.
func build(ctx context.Context, cfg Config, log *slog.Logger) (w *world, err error) {
	w = &world{cfg: cfg, log: log, proxies: map[string]*proxy{}, disks: map[string]*disk{}, idle: func() error { return nil }}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.cfg.Binary, err = filepath.Abs(cfg.Binary); err != nil { // a server starts from another directory
		return w, err
	}
	if err := w.startServers(ctx); err != nil {
		return w, err
	}
	file, err := w.configure()
	if err != nil {
		return w, err
	}
	for _, r := range []struct {
		role app.Role
		n    int
	}{{app.Ingest, 1}, {app.Detect, 2}, {app.Triage, 1}, {app.Store, 1}, {app.Executor, 1}} {
		for i := range r.n {
			name := string(r.role)
			if r.n > 1 {
				name = fmt.Sprintf("%s-%d", r.role, i+1)
			}
			listen, err := freeAddr()
			if err != nil {
				return w, err
			}
			p := w.process(name, string(r.role), "--config", file, "--set", "http.listen="+listen)
			p.health = "http://" + listen
			w.roles = append(w.roles, p)
			if err := p.start(); err != nil {
				return w, err
			}
		}
	}
	return w, nil
}

func (w *world) process(name string, args ...string) *process {
	return &process{name: name, args: append([]string{w.cfg.Binary}, args...), log: filepath.Join(w.cfg.Dir, name+".log")}
}

func (w *world) startServers(ctx context.Context) error {
	err := w.mount(serverNames()...)
	if err != nil {
		return err
	}
	if w.cfg.Kafka == Real {
		err = w.startRealKafka(ctx)
	} else {
		err = w.startKafka()
	}
	if err != nil {
		return err
	}
	nats, err := w.server("nats", func(line string) error { return json.Unmarshal([]byte(line), &w.nats) })
	if err != nil {
		return err
	}
	clickhouse, err := w.server("clickhouse", func(line string) error { return json.Unmarshal([]byte(line), &w.click) })
	if err != nil {
		return err
	}
	w.servers = append(w.servers, nats, clickhouse)
	return nil
}

// server starts one of our embedded parts behind a proxy.
func (w *world) server(name string, says func(string) error) (*process, error) {
	listen, err := freeAddr()
	if err != nil {
		return nil, err
	}
	proxy, err := newProxy(name, listen)
	if err != nil {
		return nil, err
	}
	w.proxies[name] = proxy
	args := []string{"part", name, "--dir", filepath.Join(w.cfg.Dir, name), "--listen", listen}
	if name == "kafka" {
		args = append(args, "--advertise", proxy.addr())
	}
	p := w.process(name, args...)
	if d := w.disks[name]; d != nil {
		p.args = append(d.on(), p.args...)
	}
	p.says = func(line string) error {
		line = strings.ReplaceAll(line, filepath.Join(w.cfg.Dir, name), w.data(name))
		if !strings.Contains(line, "{") {
			return errors.New("is no JSON")
		}
		return says(line)
	}
	return p, p.start()
}

func (w *world) startKafka() error {
	p, err := w.server("kafka", func(string) error { return nil })
	if err != nil {
		return err
	}
	w.servers = append(w.servers, p)
	w.kafkaAddr, w.kafkaData = w.proxies["kafka"].addr(), w.data("kafka")
	return nil
}

// realKafka is Apache Kafka as a part.
type realKafka struct {
	*kafka.Broker
	ctx context.Context
}

func (realKafka) String() string  { return "kafka" }
func (k realKafka) start() error  { return k.Restart(k.ctx) }
func (k realKafka) kill() error   { return k.Kill() }
func (k realKafka) freeze() error { return k.Pause() }
func (k realKafka) thaw() error   { return k.Resume() }

func (k realKafka) revive() error {
	if !k.Ended() {
		return nil
	}
	return errors.Join(k.Kill(), k.start())
}

func (w *world) startRealKafka(ctx context.Context) error {
	proxy, err := newProxy("kafka", "")
	if err != nil {
		return err
	}
	w.proxies["kafka"] = proxy
	dir := filepath.Join(w.cfg.Dir, "kafka-server")
	b, err := kafka.Start(ctx, kafka.Options{Dir: dir, Log: w.log, Settings: map[string]string{
		"advertised.listeners": "PLAINTEXT://" + proxy.addr(),
		"log.dirs":             w.data("kafka"),
	}})
	if err != nil {
		return err
	}
	proxy.target = b.Addr()
	w.idle = b.Stop
	w.servers = append(w.servers, realKafka{b, ctx})
	w.kafkaAddr, w.kafkaData = proxy.addr(), w.data("kafka")
	return nil
}

// partitions of every topic: more than there are processes of a role.
const partitions = 4

// configure writes the configuration of the roles. They reach every server
// through its proxy.
func (w *world) configure() (file string, err error) {
	cfg := app.DefaultConfig()
	cfg.Topics.Partitions = partitions
	k := &cfg.Kafka
	*k = stream.DefaultConfig()
	k.Brokers = []string{w.kafkaAddr}
	k.SessionTimeout, k.HeartbeatInterval, k.RebalanceTimeout = sessionTimeout, 500*time.Millisecond, 6*time.Second
	k.RequestTimeout, k.CheckpointInterval = 3*time.Second, 500*time.Millisecond
	k.FetchMaxBytes = 64 << 10 // more steps, more instructions to be killed at
	cfg.Detect.CheckpointProfiles, cfg.Detect.ReplayAge = 0, 2*time.Second
	cfg.Detect.Settle = 2 * time.Second // longer than a part of the log takes to be written to all partitions

	natsURL := "nats://" + w.proxies["nats"].addr()
	as := func(role string) command.NATSConfig {
		r := w.nats.Roles[role]
		return command.NATSConfig{URL: natsURL, SeedFile: r["seed_file"], InboxPrefix: r["inbox_prefix"]}
	}
	key := func(role string) []string { return []string{w.nats.Roles[role]["signing_key"]} }
	trust := command.Keyring{Triage: key("triage"), Executors: key("executor"), Operators: key("operator")}
	cfg.Triage.NATS, cfg.Triage.SigningKey, cfg.Triage.Trust = as("triage"), w.nats.Roles["triage"]["signing_file"], trust
	cfg.Executor.NATS, cfg.Executor.SigningKey, cfg.Executor.Trust = as("executor"), w.nats.Roles["executor"]["signing_file"], trust
	cfg.Actions = app.Actions{NATS: as("store"), Trust: trust}
	cfg.Triage.IncidentGap = 10 * 365 * 24 * time.Hour // one incident a session, so that they can be counted from outside

	cfg.Store.URL, cfg.Store.User, cfg.Store.PasswordFile = "http://"+w.proxies["clickhouse"].addr(), w.click.User, w.click.PasswordFile
	cfg.Store.Timeout, cfg.Triage.Timeout, cfg.Executor.Timeout = 5*time.Second, 2*time.Second, 2*time.Second
	cfg.Rules.Response = filepath.Join(w.cfg.Dir, "response.yaml")
	text, err := cfg.YAML()
	if err != nil {
		return "", err
	}
	w.app = cfg
	file = filepath.Join(w.cfg.Dir, "stakeout.yaml")
	return file, errors.Join(os.WriteFile(cfg.Rules.Response, []byte(policy), 0o600), os.WriteFile(file, text, 0o600))
}

// policy commands one page for each incident, and takes its time before it
// does anything because an executor is away.
const policy = `
max_age: 87600h
budgets:
  page: {max: 1000, per: 1m}
policies:
  - name: tell
    match: {}
    ladder:
      - {kind: page, mode: auto, expires: 24h, ack_timeout: 2h}
`

// fallen says which processes ended although nobody told them to.
func (w *world) fallen() (all []string) {
	for _, p := range append(w.roles, w.servers...) {
		if p, ok := p.(*process); ok && p.fallen() != "" {
			all = append(all, p.fallen())
		}
	}
	return all
}

// close ends everything.
func (w *world) close() error {
	var errs []error
	for _, p := range append(w.roles, w.servers...) {
		errs = append(errs, p.kill())
	}
	for _, p := range w.proxies {
		errs = append(errs, p.close())
	}
	errs = append(errs, w.idle())
	for name, d := range w.disks {
		if w.keep {
			errs = append(errs, os.CopyFS(filepath.Join(w.cfg.Dir, name+"-kept"), os.DirFS(d.path)))
		}
		errs = append(errs, d.close())
	}
	return errors.Join(errs...)
}

// mount gives each server a disk of its own, so that it can be full. Where the
// machine has none to give, nothing will be.
func (w *world) mount(servers ...string) error {
	for _, name := range servers {
		d, err := newDisk(filepath.Join(w.cfg.Dir, name))
		if errors.Is(err, errors.ErrUnsupported) {
			w.log.Warn("no disk will be full", "err", err)
			return nil
		}
		if err != nil {
			return err
		}
		w.disks[name] = d
	}
	return nil
}

// data is the directory of a server, as seen from here.
func (w *world) data(server string) string {
	if d := w.disks[server]; d != nil {
		return d.path
	}
	return filepath.Join(w.cfg.Dir, server)
}

// freeAddr is an address that nobody listens on now.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
