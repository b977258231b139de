package rules

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

func TestShippedDetectionIsTheDefault(t *testing.T) {
	got, err := Detection("")
	if err != nil {
		t.Fatal(err)
	}
	want := detect.DefaultRules()
	want.Version = got.Version
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("shipped rules (-default +shipped):\n%s", diff)
	}
}

func TestDetectionRefusals(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := parseDetection("my.yaml", []byte(text))
		if err == nil {
			t.Errorf("no error for\n%s\nwant %s", text, want)
			return
		}
		if got := err.Error(); got != want {
			t.Errorf("error\n%s\nwant\n%s", got, want)
		}
	}
	f("", "my.yaml: is empty")
	f("version: a\nbudget: 0.01\ndetectors: {privilege_drift: {share: 0.5}}\n---\nversion: b\n", "my.yaml: holds more than one document, want one")
	f("version: a\nbudgets: 1\n", "my.yaml:2: field budgets not found in type rules.detection")
	f("version: a\nbudget: often\n", "my.yaml:2: cannot unmarshal !!str `often` into float64")
	f("budget: 0\ndetectors:\n  privilege_drift:\n    share: 2\n  telepathy: {share: 0.1}\n", strings.Join([]string{
		"my.yaml:1: version: is missing, want a name that findings can quote",
		"my.yaml:5: detectors.telepathy: is no detector, want one of " + names(),
		"my.yaml:1: budget: is 0, want more than 0 and at most 100 false findings per agent-day",
		"my.yaml:4: detectors.privilege_drift.share: is 2, want more than 0 and at most 1",
		"my.yaml:3: detectors: shares sum to 2, want at most 1"}, "\n"))
	f("version: a\nbudget: 1\ndetectors:\n  memory: {share: 0.1}\n  first_use:\n    share: 0.1\n    prior: {surprises: 0, days: 1}\n", strings.Join([]string{
		"my.yaml:4: detectors.memory.prior: is missing, want {surprises: ..., days: ...}",
		"my.yaml:7: detectors.first_use.prior: is 0 surprises in 1 days, want more than 0 of both, and a youth of 0 or more"}, "\n"))
}

func FuzzDetection(f *testing.F) {
	shipped, err := Shipped.ReadFile("detection.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shipped)
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := parseDetection("f.yaml", data); err == nil {
			if err := r.Validate(); err != nil {
				t.Errorf("accepted rules that are not valid: %v", err)
			}
		}
	})
}

func TestPeers(t *testing.T) {
	dir := t.TempDir()
	if p, err := Peers(""); p != nil || err != nil {
		t.Errorf("without a file: %v, %v", p, err)
	}
	want := &detect.Peers{Version: "p", Format: 3, Groups: map[string]*detect.Group{"clerk\x00": {Sessions: 3, Calls: 2, Rate: 0.002, Bar: 7,
		Tools: map[uint64]float64{1: 2}, Ways: map[uint64]*detect.Ways{1: {3: 2}}, Fresh: map[uint64]*detect.Usage{1: {All: 2, Special: 1}}, Flows: map[uint64]float64{5: 1}, Values: map[uint64]float64{9: 1}}}}
	file := filepath.Join(dir, "peers.json")
	if err := WritePeers(file, want); err != nil {
		t.Fatal(err)
	}
	got, err := Peers(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(detect.Group{})); diff != "" {
		t.Errorf("peers written and read (-want +got):\n%s", diff)
	}
	if err := WritePeers(filepath.Join(dir, "none", "peers.json"), want); err == nil {
		t.Error("peers were written where there is no directory")
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind %v, error %v", left, err)
	}
	f := func(text, want string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Peers(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v for %s, want %s", err, text, want)
		}
	}
	f("{", file)
	f("{}", "version: is missing")
	f(`{"version":"p","format":2}`, "format: is 2, this build reads 3")
	f(`{"version":"p","groups":{"clerk":null}}`, `groups."clerk": has no rate`)
	f(`{"version":"p","groups":{"clerk":{"rate":0}}}`, `groups."clerk": has no rate`)
	f(`{"version":"p","groups":{"clerk":{"rate":1,"flows":{"1":-1}}}}`, `groups."clerk": has no rate, or a count`)
}

// FuzzPeers reads what somebody else may have written.
func FuzzPeers(f *testing.F) {
	f.Add([]byte(`{"version":"p","format":3,"groups":{"clerk\u0000":{"rate":0.002,"bar":7,"ways":{"0":[1,2]},"fresh":{"1":{"all":2,"special":1}}}}}`))
	f.Add([]byte(`{"version":"p","format":3,"groups":{"":null}}`))
	f.Add([]byte(`{"version":"p","format":3,"groups":{"clerk\u0000":{"rate":0.002,"ways":{"0":[-9]}}}}`))
	f.Add([]byte(`{"version":"p","format":3,"groups":{"clerk\u0000":{"rate":0.002,"fresh":{"1":null},"ways":{"1":null}}}}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePeers("peers.json", data)
		if err != nil {
			return
		}
		if err := p.Validate(); err != nil {
			t.Errorf("accepted peers that are not valid: %v", err)
		}
		e := detect.New(detect.DefaultRules())
		e.UsePeers(p)
		ev := event.Event{Name: event.ToolCall, Agent: "a", Role: "clerk", Tool: "t", Effect: event.Send, ID: "1"}
		if got := e.Evidence(&ev); math.IsNaN(got) {
			t.Error("evidence is no number")
		}
	})
}
