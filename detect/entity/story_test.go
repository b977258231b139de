package entity_test

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
	"golang.org/x/tools/txtar"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
)

var update = flag.Bool("update", false, "rewrite the findings of the stories")

// TestStories replays testdata/*.txtar through the engine of single agents and
// shows what follows from the facts that it tells. Events are written as in the
// stories of package detect: a line
//
//	repeat 300 every 1h {...}
//
// stands for as many events, %d in it for the number.
func TestStories(t *testing.T) {
	for name, story := range stories(t) {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			engine := entity.New(detect.DefaultRules())
			for _, f := range facts(t, story) {
				for _, f := range engine.Observe(&f) {
					fmt.Fprintf(&got, "%s %s %s p=%.2g\n  %s\n  observed: %s\n  baseline: %s\n  evidence: %s\n  entities: %v\n",
						f.Detector, f.Event, f.Threat, f.PValue, f.Reason, f.Observed, f.Baseline, strings.Join(f.Evidence, " "), f.Entities)
				}
			}
			if *update {
				story.Files[1].Data = got.Bytes()
				if err := os.WriteFile(filepath.Join("testdata", name+".txtar"), txtar.Format(story), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := gocmp.Diff(string(story.Files[1].Data), got.String()); diff != "" {
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
		story, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(story.Files) != 2 || story.Files[0].Name != "events" || story.Files[1].Name != "findings" {
			t.Fatalf("%s: want the sections events and findings", file)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".txtar")] = story
	}
	return all
}

// facts are what the engine of single agents tells of a story.
func facts(t testing.TB, story *txtar.Archive) []detect.Fact {
	t.Helper()
	engine := detect.New(detect.DefaultRules())
	var all []detect.Fact
	for i, ev := range events(t, story.Files[0].Data) {
		engine.Observe(ev, int64(i), event.Source{})
		all = append(all, engine.Facts()...)
	}
	return all
}

// events expands a script, in order of time.
func events(t testing.TB, script []byte) []*event.Event {
	t.Helper()
	var out []*event.Event
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
		for i := range count {
			var ev event.Event
			if err := ev.UnmarshalJSON([]byte(strings.ReplaceAll(line, "%d", fmt.Sprint(i)))); err != nil {
				t.Fatalf("line %d: %v", n+1, err)
			}
			ev.Time += event.Timestamp(time.Duration(i) * step)
			if ev.ID == "" {
				ev.ID = fmt.Sprintf("%d.%d", n+1, i)
			}
			out = append(out, &ev)
		}
	}
	slices.SortStableFunc(out, func(a, b *event.Event) int { return cmp.Compare(a.Time, b.Time) })
	return out
}
