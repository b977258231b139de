package main_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	parts "github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/store/chdb"
)

// TestRoles runs each role as a process of its own, detect twice, against
// servers that the configuration names.
func TestRoles(t *testing.T) {
	s := servers(t)
	f := simulated(t, 20, 16, "--seed", "4", "--threats", "privilege-drift,confused-deputy,memory-poisoning")
	all := lines(t, f.file)
	half := func(name string, lines []string) string {
		file := filepath.Join(t.TempDir(), name)
		check(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600))
		return file
	}

	roles := map[string]*process{}
	for _, role := range []string{"ingest", "detect", "triage", "store", "executor"} {
		roles[role] = begin(t, s.environment(role), role, "--config", s.file)
	}
	second := begin(t, nil, "detect", "--config", s.file)
	for _, p := range roles {
		p.ready()
	}
	second.ready()
	p := &pipeline{process: roles["detect"], file: s.file, kafka: s.kafka.Addr(), health: roles["detect"].url()}
	p.running = s.addresses()
	eventually(t, 20*time.Second, func() error { // each owns something before there is anything to do
		for _, d := range []*process{p.process, second} {
			if !strings.Contains(d.log(), "partitions=2") {
				return fmt.Errorf("detect %d does not own two of the partitions", d.cmd.Process.Pid)
			}
		}
		return nil
	})

	n := p.ship(half("first.jsonl", all[:len(all)/2]))
	p.stored(n)
	other := &pipeline{process: second, health: second.url()}
	eventually(t, 20*time.Second, func() error {
		a, b := p.metric("stakeout_detect_events_total"), other.metric("stakeout_detect_events_total")
		if a+b != n {
			return fmt.Errorf("%d and %d events are judged, want %d together", a, b, n)
		}
		if a == 0 || b == 0 {
			t.Errorf("of two processes one judged %d events, and one %d", a, b)
		}
		return nil
	})

	second.kill()
	killed := time.Now()
	n += p.ship(half("second.jsonl", all[len(all)/2:]))
	if n != f.lines {
		t.Errorf("ship acknowledged %d lines, want %d", n, f.lines)
	}
	p.stored(n)
	want := backtest(t, f.file)
	eventually(t, time.Minute, func() error {
		if diff := cmp.Diff(want, p.rows("SELECT id FROM stakeout.findings FINAL ORDER BY id")); diff != "" {
			return fmt.Errorf("findings of the file and stored (-file +stored):\n%s", diff)
		}
		return p.answered()
	})
	t.Logf("%d findings, complete %s after one of two detect processes was killed", len(want), time.Since(killed).Round(time.Millisecond))
	for _, role := range []string{"ingest", "detect", "triage", "store", "executor"} {
		roles[role].stop()
	}
}

// cluster is what the roles need and `stakeout up` would embed.
type cluster struct {
	kafka  *parts.Kafka
	nats   *parts.NATS
	engine *chdb.Engine
	file   string // configuration of all that is no secret of one role
}

func servers(t *testing.T) *cluster {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := &cluster{}
	var err error
	cfg := parts.DefaultKafkaConfig()
	cfg.Listen = "127.0.0.1:0"
	s.kafka, err = parts.StartKafka(cfg, log)
	check(t, err)
	t.Cleanup(func() { check(t, s.kafka.Close()) })
	s.nats, err = parts.StartNATS(parts.NATSConfig{Dir: filepath.Join(t.TempDir(), "nats"), Listen: "127.0.0.1:0"}, log)
	check(t, err)
	t.Cleanup(s.nats.Close)
	s.engine, err = chdb.Start(t.Context(), chdb.Options{Dir: t.TempDir(), Args: []string{binary, "clickhouse-engine"}, Library: engine(t), Listen: "127.0.0.1:0", Log: log})
	check(t, err)
	t.Cleanup(func() { check(t, s.engine.Close()) })

	trust := settings{"triage": s.nats.SigningKey(parts.TriageRole), "executors": s.nats.SigningKey(parts.ExecutorRole), "operators": s.nats.SigningKey(parts.OperatorRole)}
	s.file = settings{
		"up":     settings{"dir": filepath.Join(t.TempDir(), "none")},
		"http":   settings{"listen": "127.0.0.1:0"},
		"topics": settings{"partitions": 4},
		"kafka":  settings{"brokers": []string{s.kafka.Addr()}, "session_timeout": "3s", "heartbeat_interval": "1s", "rebalance_timeout": "10s"},
		"store":  settings{"url": "http://" + s.engine.Addr(), "user": "stakeout", "password_file": s.engine.PasswordFile()},
		"triage": settings{"trust": trust}, "executor": settings{"trust": trust}, "actions": settings{"trust": trust},
	}.write(t)
	return s
}

// environment is what one role alone is told.
func (s *cluster) environment(role string) []string {
	as := func(section string, r parts.NATSRole) []string {
		prefix := "STAKEOUT_" + section + "__"
		return []string{prefix + "NATS__URL=" + s.nats.URL(), prefix + "NATS__SEED_FILE=" + s.nats.SeedFile(r), prefix + "NATS__INBOX_PREFIX=" + s.nats.InboxPrefix(r)}
	}
	switch role {
	case "triage":
		return append(as("TRIAGE", parts.TriageRole), "STAKEOUT_TRIAGE__SIGNING_KEY="+s.nats.SigningFile(parts.TriageRole))
	case "executor":
		return append(as("EXECUTOR", parts.ExecutorRole), "STAKEOUT_EXECUTOR__SIGNING_KEY="+s.nats.SigningFile(parts.ExecutorRole))
	case "store":
		return as("ACTIONS", parts.StoreRole)
	case "operator":
		return append(as("OPERATOR", parts.OperatorRole), "STAKEOUT_OPERATOR__SIGNING_KEY="+s.nats.SigningFile(parts.OperatorRole))
	}
	return nil
}

// addresses are what running.json would tell.
func (s *cluster) addresses() (a addresses) {
	a.ClickHouse, a.User, a.PasswordFile = "http://"+s.engine.Addr(), "stakeout", s.engine.PasswordFile()
	return a
}

var healthLine = regexp.MustCompile(`msg="health and metrics" url=(http://\S+)`)

// url is where a role serves health and metrics.
func (p *process) url() (url string) {
	p.t.Helper()
	eventually(p.t, 20*time.Second, func() error {
		m := healthLine.FindStringSubmatch(p.log())
		if m == nil {
			return fmt.Errorf("%s does not say where its health is", p.name)
		}
		url = m[1]
		return nil
	})
	return url
}

// ready waits until a role has all it needs.
func (p *process) ready() {
	p.t.Helper()
	q := &pipeline{process: p, health: p.url()}
	eventually(p.t, 20*time.Second, func() error {
		if status, body := q.get("/readyz"); status != 200 {
			return fmt.Errorf("%s: /readyz answers %d %s", p.name, status, body)
		}
		return nil
	})
}
