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
	f("version: a\nbudgets: 1\n", "my.yaml:2: budgets: is no key here")
	f("version: a\nbudget: often\n", "my.yaml:2: is \"often\", want a number")
	f("version: a\ndetectors: [x]\n", "my.yaml:2: is a list, want a mapping")
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

func TestBOMRefusals(t *testing.T) {
	f := func(bom string, want ...string) {
		t.Helper()
		_, err := parseDetection("my.yaml", []byte("version: a\nbudget: 1\ndetectors:\n  supply_chain: {share: 0.1, prior: {surprises: 1, days: 1}}\n"+bom))
		if err == nil {
			t.Errorf("no error for\n%s\nwant %s", bom, want)
			return
		}
		if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
			t.Errorf("error for\n%s\n(-want +got):\n%s", bom, diff)
		}
	}
	const missing = ", or no such section, which holds nothing of its kind against anybody"
	f("bom:\n  models: [a]\n  tools: [b]\n", "my.yaml:7: tools: is no key here")
	f("bom:\n  models: {a: b}\n", "my.yaml:6: is a mapping, want a list")
	f("bom:\n  models:\n", "my.yaml:6: bom: is empty, want models, servers or builds"+missing)
	f("bom:\n  models: []\n  servers: []\n  builds: []\n", "my.yaml:6: bom.models: is empty, want names of models"+missing,
		"my.yaml:7: bom.servers: is empty, want servers"+missing, "my.yaml:8: bom.builds: is empty, want builds"+missing)
	f("bom:\n  models:\n  - a\n  - ''\n  - a\n", "my.yaml:8: bom.models[1]: has 0 bytes, want 1 to 1024", "my.yaml:9: bom.models[2]: stands twice")
	f("bom:\n  servers:\n  - tools: [{name: t}]\n  - address: s\n    tools: []\n  - address: s\n", "my.yaml:7: bom.servers[0].address: has 0 bytes, want 1 to 1024",
		"my.yaml:9: bom.servers[1].tools: is empty, want tools"+missing, "my.yaml:10: bom.servers[2].address: stands twice")
	f("bom:\n  servers:\n  - address: s\n    tools:\n    - {name: t, hash: sha256:ab}\n    - {name: u}\n    - {name: u, hash: ab}\n    - {name: v, hash: ab}\n    - {name: v, hash: AB}\n",
		`my.yaml:9: bom.servers[0].tools[0].hash: is "sha256:ab", want at most 128 hexadecimal digits`,
		"my.yaml:11: bom.servers[0].tools[2].hash: says nothing, because the tool stands without a hash, too", "my.yaml:13: bom.servers[0].tools[4]: stands twice")
	f("bom:\n  builds:\n  - {role: clerk}\n  - {role: "+strings.Repeat("r", 1025)+", version: '1'}\n  - {version: '1'}\n  - {version: '1'}\n", "my.yaml:7: bom.builds[0].version: has 0 bytes, want 1 to 1024",
		"my.yaml:8: bom.builds[1].role: has 1025 bytes, want at most 1024", "my.yaml:10: bom.builds[3]: stands twice")
	_, err := parseDetection("my.yaml", []byte("version: a\nbudget: 1\ndetectors: {privilege_drift: {share: 1}}\nbom: {models: [a]}\n"))
	if want := "my.yaml:4: bom: is there, but not the detector supply_chain, which reads it"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func FuzzDetection(f *testing.F) {
	shipped, err := Shipped.ReadFile("detection.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shipped)
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("version: a\nbudget: 1\ndetectors:\n  supply_chain: {share: 0.1, prior: {surprises: 1, days: 1}}\nbom: " + aBOM))
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
	want := &detect.Peers{Version: "p", Format: 5, Groups: map[string]*detect.Group{"clerk\x00": {Sessions: 3, Calls: 2, Rate: 0.002, Bar: 7,
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
	f(`{"version":"p","format":3}`, "format: is 3, this build reads 5")
	f(`{"version":"p","groups":{"clerk":null}}`, `groups."clerk": has no rate`)
	f(`{"version":"p","groups":{"clerk":{"rate":0}}}`, `groups."clerk": has no rate`)
	f(`{"version":"p","groups":{"clerk":{"rate":1,"flows":{"1":-1}}}}`, `groups."clerk": has no rate, or a count`)
}

// FuzzPeers reads what somebody else may have written.
func FuzzPeers(f *testing.F) {
	f.Add([]byte(`{"version":"p","format":5,"groups":{"clerk\u0000":{"rate":0.002,"bar":7,"ways":{"0":[1,2]},"fresh":{"1":{"all":2,"special":1}}}}}`))
	f.Add([]byte(`{"version":"p","format":5,"groups":{"":null}}`))
	f.Add([]byte(`{"version":"p","format":5,"groups":{"clerk\u0000":{"rate":0.002,"ways":{"0":[-9]}}}}`))
	f.Add([]byte(`{"version":"p","format":5,"groups":{"clerk\u0000":{"rate":0.002,"fresh":{"1":null},"ways":{"1":null}}}}`))
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
