package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestDemo plays a short demonstration. A fleet so small and so short-lived need
// not be found out in everything; but nothing may be lost or doubled, and the
// figures have to be as documented.
func TestDemo(t *testing.T) {
	t.Parallel() // half a minute of it is waiting
	tmp := t.TempDir()
	r := stakeoutWith(t, []string{chdbEnv + "=" + engine(t), "TMPDIR=" + tmp}, nil, "demo", "--agents", "30", "--live", "10s", "--format", "json")
	var raw map[string]any
	if err := json.Unmarshal([]byte(r.out), &raw); err != nil || strings.Count(r.out, "\n") != 1 {
		t.Fatalf("standard output is no object on one line: %v\n%s\n%s", err, r.out, r.err)
	}
	if diff := cmp.Diff([]string{"actions", "actions_shadowed", "actions_verified", "agent_days", "doubled", "events", "false_findings",
		"findings", "findings_stored", "lost", "seconds", "threats"}, slices.Sorted(maps.Keys(raw))); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	for _, threat := range raw["threats"].([]any) {
		if diff := cmp.Diff([]string{"contained", "detected", "dwell_p50_ms", "dwell_p99_ms", "injected", "name"}, slices.Sorted(maps.Keys(threat.(map[string]any)))); diff != "" {
			t.Errorf("keys of a threat (-want +got):\n%s", diff)
		}
	}
	var got struct {
		Events, Findings, Actions, Lost, Doubled int
		FindingsStored                           int `json:"findings_stored"`
		ActionsVerified                          int `json:"actions_verified"`
		Threats                                  []struct {
			Name                          string
			Injected, Detected, Contained int
		}
	}
	check(t, json.Unmarshal([]byte(r.out), &got))
	t.Logf("within %s: %s", r.took.Round(time.Millisecond), r.out)
	if got.Lost != 0 || got.Doubled != 0 || got.Events == 0 || got.Findings == 0 || got.FindingsStored != got.Findings || got.ActionsVerified != got.Actions {
		t.Errorf("the demonstration came to %+v", got)
	}
	if len(got.Threats) != 4 {
		t.Errorf("%d threats are told, want 4", len(got.Threats))
	}
	detected := 0
	for _, threat := range got.Threats {
		detected += threat.Detected
		if threat.Injected != 4 || threat.Contained != threat.Detected {
			t.Errorf("of a threat came %+v", threat)
		}
	}
	if detected < 8 {
		t.Errorf("%d of 16 attacks were detected", detected)
	}
	empty(t, tmp)
}

// TestDemoInterrupted ends a demonstration in the middle of its fortnight.
func TestDemoInterrupted(t *testing.T) {
	tmp := t.TempDir()
	p := begin(t, []string{chdbEnv + "=" + engine(t), "TMPDIR=" + tmp}, "demo", "--format", "json")
	eventually(t, 20*time.Second, func() error {
		if !strings.Contains(p.log(), "a fortnight of") {
			return fmt.Errorf("it says %q", p.log())
		}
		return nil
	})
	children := p.children()
	p.signal(syscall.SIGINT)
	if code := p.wait(5 * time.Second); code != 1 || !strings.HasSuffix(p.log(), "\nstakeout: interrupted\n") {
		t.Errorf("interrupted it ends with exit status %d:\n%s", code, p.log())
	}
	p.gone(children)
	empty(t, tmp)
}

// empty expects that nothing was left in the directory for temporary files.
func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	check(t, err)
	if len(left) > 0 {
		t.Errorf("%s is left in the directory for temporary files", left)
	}
}
