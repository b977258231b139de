package entity_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/detect/story"
	"github.com/stakeout-project/stakeout/ingest/event"
)

var update = flag.Bool("update", false, "rewrite the findings of the stories")

// TestStories replays testdata/*.txtar, whose events are written as [story.Events]
// reads them, through the engine of single agents, and shows what follows from the
// facts that it tells.
func TestStories(t *testing.T) {
	for name, told := range stories(t) {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			engine := entity.New(detect.DefaultRules())
			for _, f := range facts(t, told) {
				for _, f := range engine.Observe(&f) {
					fmt.Fprintf(&got, "%s %s %s p=%.2g\n  %s\n  observed: %s\n  baseline: %s\n  evidence: %s\n  entities: %v\n",
						f.Detector, f.Event, f.Threat, f.PValue, f.Reason, f.Observed, f.Baseline, strings.Join(f.Evidence, " "), f.Entities)
				}
			}
			if *update {
				told.Files[1].Data = got.Bytes()
				if err := os.WriteFile(filepath.Join("testdata", name+".txtar"), txtar.Format(told), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := gocmp.Diff(string(told.Files[1].Data), got.String()); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// stories reads testdata: each has its events and then its findings.
func stories(t testing.TB) map[string]*txtar.Archive {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	all := map[string]*txtar.Archive{}
	for _, file := range files {
		told, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(told.Files) != 2 || told.Files[0].Name != "events" || told.Files[1].Name != "findings" {
			t.Fatalf("%s: want the sections events and findings", file)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".txtar")] = told
	}
	return all
}

// facts are what the engine of single agents tells of a story.
func facts(t testing.TB, told *txtar.Archive) []detect.Fact {
	t.Helper()
	engine := detect.New(detect.DefaultRules())
	var all []detect.Fact
	events, decisions := story.Events(t, told.Files[0].Data)
	if len(decisions) > 0 {
		t.Fatal("a story of what agents share has a person's decisions, which nobody here obeys")
	}
	for i, ev := range events {
		engine.Observe(ev, int64(i), event.Source{})
		all = append(all, engine.Facts()...)
	}
	return all
}
