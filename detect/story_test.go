package detect_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/story"
	"github.com/stakeout-project/stakeout/ingest/event"
)

var update = flag.Bool("update", false, "rewrite the findings of the stories")

// TestStories replays testdata/*.txtar, whose events are written as [story.Events]
// reads them. The section rules, where a story has one, is the bill of materials
// beside the rules that are the default.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			told, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for _, f := range replay(t, storyRules(t, told), section(t, told, "events")) {
				fmt.Fprintf(&got, "%s %s %s p=%.2g\n  %s\n  observed: %s\n  baseline: %s\n  evidence: %s\n",
					f.Detector, f.Event, f.Threat, f.PValue, f.Reason, f.Observed, f.Baseline, strings.Join(f.Evidence, " "))
			}
			if *update {
				for i := range told.Files {
					if told.Files[i].Name == "findings" {
						told.Files[i].Data = got.Bytes()
					}
				}
				if err := os.WriteFile(file, txtar.Format(told), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := gocmp.Diff(string(section(t, told, "findings")), got.String()); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func section(t *testing.T, a *txtar.Archive, name string) []byte {
	t.Helper()
	for _, f := range a.Files {
		if f.Name == name {
			return f.Data
		}
	}
	t.Fatalf("no section %q", name)
	return nil
}

// storyRules are the rules that a story is replayed under.
func storyRules(t *testing.T, a *txtar.Archive) detect.Rules {
	t.Helper()
	rules := detect.DefaultRules()
	for _, f := range a.Files {
		if f.Name != "rules" {
			continue
		}
		var own struct {
			BOM *detect.BOM `yaml:"bom"`
		}
		d := yaml.NewDecoder(bytes.NewReader(f.Data))
		d.KnownFields(true)
		if err := d.Decode(&own); err != nil {
			t.Fatal(err)
		}
		rules.BOM = own.BOM
	}
	if err := rules.Validate(); err != nil {
		t.Fatal(err)
	}
	return rules
}

func replay(t *testing.T, r detect.Rules, script []byte) []detect.Finding {
	t.Helper()
	engine := detect.New(r)
	var found []detect.Finding
	all, decisions := story.Events(t, script)
	for i, ev := range all {
		if op, ok := decisions[ev]; ok {
			if err := engine.Operate(op, ev, int64(i), event.Source{}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		found = append(found, engine.Observe(ev, int64(i), event.Source{})...)
	}
	return found
}
