package detect_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

var update = flag.Bool("update", false, "rewrite the findings of the stories")

// TestStories replays testdata/*.txtar. A story's events are JSON lines; a line
//
//	repeat 300 every 1h {...}
//
// stands for as many events, the first at the time given, %d in it for the
// number. A line
//
//	operate false_positive first_use {...}
//
// is a person's decision, which the event carries. The events of all lines are put in order of time. The section rules, where a
// story has one, is the bill of materials beside the rules that are the default.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			story, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for _, f := range replay(t, storyRules(t, story), section(t, story, "events")) {
				fmt.Fprintf(&got, "%s %s %s p=%.2g\n  %s\n  observed: %s\n  baseline: %s\n  evidence: %s\n",
					f.Detector, f.Event, f.Threat, f.PValue, f.Reason, f.Observed, f.Baseline, strings.Join(f.Evidence, " "))
			}
			if *update {
				for i := range story.Files {
					if story.Files[i].Name == "findings" {
						story.Files[i].Data = got.Bytes()
					}
				}
				if err := os.WriteFile(file, txtar.Format(story), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := gocmp.Diff(string(section(t, story, "findings")), got.String()); diff != "" {
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
	all, decisions := events(t, script)
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

// events expands a script, and returns the decisions that some of them carry.
func events(t *testing.T, script []byte) (out []*event.Event, decisions map[*event.Event]detect.Operation) {
	t.Helper()
	decisions = map[*event.Event]detect.Operation{}
	for n, line := range strings.Split(strings.TrimSpace(string(script)), "\n") {
		count, step := 1, time.Duration(0)
		if rest, ok := strings.CutPrefix(line, "repeat "); ok {
			var every string
			if _, err := fmt.Sscanf(rest, "%d every %s", &count, &every); err != nil {
				t.Fatalf("line %d: %v", n+1, err)
			}
			var err error
			if step, err = time.ParseDuration(every); err != nil {
				t.Fatalf("line %d: %v", n+1, err)
			}
			line = line[strings.IndexByte(line, '{'):]
		}
		op, decision := "", false
		if rest, ok := strings.CutPrefix(line, "operate "); ok {
			op, line, decision = rest[:strings.IndexByte(rest, '{')], rest[strings.IndexByte(rest, '{'):], true
		}
		for i := range count {
			text := strings.ReplaceAll(line, "%d", fmt.Sprint(i))
			var ev event.Event
			if err := ev.UnmarshalJSON([]byte(text)); err != nil {
				t.Fatalf("line %d: %v", n+1, err)
			}
			ev.Time += event.Timestamp(time.Duration(i) * step)
			if ev.ID == "" {
				ev.ID = fmt.Sprintf("%d.%d", n+1, i)
			}
			out = append(out, &ev)
			if decision {
				decisions[&ev] = detect.Operation(op)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *event.Event) int { return cmp.Compare(a.Time, b.Time) })
	return out, decisions
}
