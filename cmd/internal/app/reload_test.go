package app

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/triage"
)

func TestPolicyIsReloaded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "response.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = "policies: [{name: a, ladder: [{kind: page, mode: auto}]}]\n"
	write(good)
	var log bytes.Buffer
	var force []triage.Policy
	r, err := newReloader(file, "triage", prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.begin(); err != nil {
		t.Fatal(err)
	}
	r.set = func(p triage.Policy) error { force = append(force, p); return nil }
	f := func(taken int, refused float64, says string) {
		t.Helper()
		r.look()
		r.look() // the same again is no change
		if got := testutil.ToFloat64(r.done.WithLabelValues("refused")); len(force) != taken || got != refused || !strings.Contains(log.String(), says) {
			t.Errorf("%d policies taken, %v refused, want %d and %v; the log says %s", len(force), got, taken, refused, log.String())
		}
	}
	f(0, 0, "")
	write("kill_switch: true\n" + good)
	f(1, 0, "response policy in force")
	if !force[0].KillSwitch {
		t.Errorf("in force is %+v", force[0])
	}
	write("policies: [{name: a, ladder: [{kind: nuke, mode: auto}]}]")
	f(1, 1, "nuke")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	f(1, 2, "no such file")
	write(good)
	f(2, 2, "")
}
