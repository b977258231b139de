package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWrongTypes says of each setting of which type it is to be, and never its value.
func TestWrongTypes(t *testing.T) {
	for key, want := range map[string]string{
		"topics.retention": "want a time such as 30s", "topics.partitions": "want a whole number", "kafka.tls.enabled": "want true or false", "log.level": "want debug, info, warn or error",
		"detect.heap_growth": "want a", "triage.breach_slack": "want a time",
	} {
		_, err := Load("", nil, []string{key + "=hunter2"})
		if err == nil || !strings.Contains(err.Error(), key+": ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; %s, and not the value", key, err, want)
		}
	}
}

// TestWrongFiles reads files that are wrong as people write them: a time without its unit
// (30 is no 30 ns, nor 30 s), no settings at all, a section twice.
func TestWrongFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stakeout.yaml")
	f := func(text, want string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file, nil, nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	const want = ": cannot be read, want a time such as 30s or 1h30m"
	f("triage: {link_gap: 60}", "triage.link_gap"+want)
	f("triage: {link_gap: 1.5}", "triage.link_gap"+want)
	f("triage: {history: {window: -7}}", "triage.history.window"+want)
	f("triage: {link_gap: 60s}", "")
	f("hello", "is no YAML of settings")
	f("[1]", "is no YAML of settings")
	f("log: {format: text}\nlog: {format: json}", "line 2: mapping key \"log\" already defined at line 1")
	f("detect: {replay_age: 0}", "")
}

// TestMistakenVariables writes one underscore where there are two, which set nothing.
func TestMistakenVariables(t *testing.T) {
	_, err := Load("", []string{"STAKEOUT_KAFKA_BROKERS=a:1", "STAKEOUT_STORE_PASSWORD_FILE=hunter2"}, nil)
	for _, want := range []string{"STAKEOUT_KAFKA_BROKERS: is no setting, want STAKEOUT_KAFKA__BROKERS", "STAKEOUT_STORE_PASSWORD_FILE: is no setting, want STAKEOUT_STORE__PASSWORD_FILE"} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// What others mean by names that begin like ours is none of our business.
	others := []string{"STAKEOUT_CONFIG=x", "STAKEOUT_LIBCHDB=x", "STAKEOUT_STORE_SERVICE_HOST=10.0.0.1", "STAKEOUT_STORE_PORT=tcp://10.0.0.1:80", "STAKEOUT_STORE_PORT_80_TCP_ADDR=10.0.0.1", "KAFKA_BROKERS=x"}
	if cfg, err := Load("", others, nil); err != nil || cmp.Diff(DefaultConfig(), cfg, equalEmpty) != "" {
		t.Errorf("%v, want what others set left alone:\n%s", err, cmp.Diff(DefaultConfig(), cfg, equalEmpty))
	}
}
