package backtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// findings runs a backtest and returns what it found, as it writes it.
func findings(t *testing.T, cfg Config) (Report, string) {
	t.Helper()
	var found bytes.Buffer
	cfg.Findings = &found
	r, err := Run(t.Context(), cfg, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return r, found.String()
}

// TestAgentsMayComeInAnyOrder writes the same events in other orders, each agent's
// as they were, and with lines that come twice: the same is found.
func TestAgentsMayComeInAnyOrder(t *testing.T) {
	cfg := world(t)
	text, err := os.ReadFile(cfg.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	agents := map[string][]string{}
	var decoder event.Decoder
	var ev event.Event
	for line := range strings.Lines(string(text)) {
		if decoder.Decode([]byte(line), &ev) != nil {
			continue
		}
		line = strings.Replace(line, "{", fmt.Sprintf(`{"stakeout.seq":%d,`, len(lines)), 1)
		lines = append(lines, line)
		agents[strings.Clone(ev.Agent)] = append(agents[ev.Agent], line)
	}
	write := func(name string, lines []string) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cfg.Files = []string{write("as it was", lines)}
	want, wantFound := findings(t, cfg)
	if want.Findings == 0 {
		t.Fatal("nothing is found")
	}
	same := func(name string, events int64, files ...string) {
		t.Helper()
		cfg.Files = files
		got, gotFound := findings(t, cfg)
		if got.Events != events {
			t.Errorf("%s: %d events, want %d", name, got.Events, events)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Report{}, "Events", "Seconds", "EventsPerSec", "BytesPerAgent"), cmpopts.EquateApprox(1e-9, 1e-12)); diff != "" {
			t.Errorf("%s (-in order +so):\n%s", name, diff)
		}
		if diff := cmp.Diff(wantFound, gotFound); diff != "" {
			t.Errorf("findings, %s (-in order +so):\n%s", name, diff)
		}
	}
	var grouped, files, doubled []string
	for i, name := range []string{"clerk-3", "clerk-0", "clerk-5", "clerk-1", "clerk-4", "clerk-2"} {
		grouped = append(grouped, agents[name]...)
		files = append(files, write(fmt.Sprint(i), agents[name]))
	}
	for _, line := range lines {
		doubled = append(doubled, line, line)
	}
	n := int64(len(lines))
	same("agent after agent", n, write("grouped", grouped))
	same("a file for each agent", n, files...)
	same("every line twice", 2*n, write("doubled", doubled))
	same("agent after agent, every line twice", 2*n, write("both", slices.Concat(grouped, grouped)))
}

func TestNotesSayWhatFiguresDoNotMean(t *testing.T) {
	cfg := world(t)
	labels := func(text string) string {
		file := filepath.Join(t.TempDir(), "labels")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	f := func(change func(*Config), want ...string) {
		t.Helper()
		c := cfg
		change(&c)
		r, err := Run(t.Context(), c, func(int) {})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Notes) != len(want) {
			t.Errorf("notes %q, want %q", r.Notes, want)
			return
		}
		for i := range want {
			if !strings.Contains(r.Notes[i], want[i]) {
				t.Errorf("notes %q, want %q", r.Notes, want)
			}
		}
	}
	f(func(*Config) {})
	f(func(c *Config) { c.Labels = "" }, "every finding counts as false")
	f(func(c *Config) { c.Labels = labels(`{"session_id":"nobody's","class":"benign"}`) }, "none of the 1 labels")
	f(func(c *Config) { c.Labels = labels(`{"session_id":"s0","class":"odd"}` + "\n\n") }, "251 of 252 sessions have no label", `1 sessions are of class "odd"`)
	f(func(c *Config) { c.WarmupUntil = c.WarmupUntil.AddDate(1, 0, 0); c.Labels = "" }, "nothing is left")
	f(func(c *Config) { c.WarmupUntil = c.WarmupUntil.AddDate(-1, 0, 0); c.Labels = "" }, "no peers were learned")
	f(func(c *Config) { c.Files = []string{os.DevNull} }, "no events")
	f(func(c *Config) { c.WarmupUntil = time.Time{} }, "peers are not used")
	f(func(c *Config) { c.Trust = func(string, string, string) bool { return false } }, "files do not tell by which topic")
	f(func(c *Config) {
		c.Labels = labels(`{"session_id":"s0","class":"attack_success","phase":"eval"}` + "\n" + `{"session_id":"s200","class":"benign","phase":"eval"}`)
	}, "250 of 252 sessions have no label", "2 labels have no fold", "1 successful attacks are in the warm-up", "1 labels tell another phase")

	text, err := os.ReadFile(cfg.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	without := func(field string, want ...string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "events")
		if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte(`"`+field+`"`), []byte(`"left.out"`)), 0o600); err != nil {
			t.Fatal(err)
		}
		f(func(c *Config) { c.Files = []string{file} }, want...)
	}
	without("stakeout.effect", "none of 252 calls tells its effect")
	without("stakeout.arg.origins", "none of 252 calls that reach out tells where")
	without("stakeout.intents", "none of 252 messages tells what the user asks for")
	without("gen_ai.agent.name", "6 of 6 agents tell no role")
	without("gen_ai.conversation.id", "504 of 504 events are of no session", "none of the 252 labels names a session")
}

// TestSimulatedLabels reads labels as the simulator writes them: an attack a line.
func TestSimulatedLabels(t *testing.T) {
	labels := map[string]Label{}
	for _, line := range []string{
		`{"injection":"x/0","threat":"exfiltration","agent":"a","session":"s1","sessions":["s1","s2"],"events":["e"]}`,
		`{"session_id":"s3","class":"benign","fold":3}`,
	} {
		if err := addLabels(labels, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{"s1": success, "s2": success, "s3": benign} {
		if labels[id].Class != want {
			t.Errorf("session %s is of class %q, want %s", id, labels[id].Class, want)
		}
	}
	f := func(line, want string) {
		t.Helper()
		if err := addLabels(labels, []byte(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	f(`{"session_id":"s","class":"benign","fold":"cold"}`, "fold: is a string, want int")
	f(`{"session_id":"s"}`, "no class")
	f(`{"threat":"exfiltration"}`, "no session_id")
	f(`s,benign`, "is no JSON object")
	f(`[1]`, "is no JSON object")
}

func FuzzLabels(f *testing.F) {
	f.Add([]byte(`{"session_id":"s3","class":"benign","fold":3}`))
	f.Add([]byte(`{"threat":"x","sessions":["a",""]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		labels := map[string]Label{}
		err := addLabels(labels, line)
		if (err == nil) == (len(labels) == 0) {
			t.Errorf("%q: %d labels and %v", line, len(labels), err)
		}
		for id, l := range labels {
			if l.Class == "" || l.Session != id {
				t.Errorf("%q: a label %+v of %s", line, l, id)
			}
		}
	})
}
