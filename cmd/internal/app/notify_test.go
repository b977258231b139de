package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stakeout-project/stakeout/triage/command"
)

func TestNotifiers(t *testing.T) {
	dir := t.TempDir()
	keep := func(name, secret string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	kinds := func(settings ...string) string {
		t.Helper()
		cfg, err := Load("", nil, settings)
		if err != nil {
			t.Fatal(err)
		}
		all, err := cfg.notifiers(slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, a := range all {
			names = append(names, string(a.Kind()))
		}
		return strings.Join(names, " ")
	}
	if got := kinds(); got != "canary page resolve risk_change" {
		t.Errorf("by default there are actors of %q", got)
	}
	got := kinds("notify.pagerduty.routing_key_file="+keep("key", strings.Repeat("k", 32)),
		"notify.slack.url_file="+keep("chat", "https://chat.example/hook"), "notify.ocsf.path="+filepath.Join(dir, "findings.jsonl"))
	if got != "canary page notify resolve risk_change" {
		t.Errorf("there are actors of %q", got)
	}
	if got = kinds("notify.ocsf.path=" + filepath.Join(dir, "findings.jsonl")); !strings.Contains(got, string(command.Notify)) {
		t.Errorf("there are actors of %q", got)
	}
	_, err := Load("", nil, []string{"notify.caep.url=http://elsewhere.example", "notify.ocsf.syslog=udp://x:1"})
	for _, want := range []string{"notify.caep.url: is http to another machine", "notify.ocsf.syslog: has the scheme \"udp\""} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}
