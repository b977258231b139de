package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestAnnounceTellsNoPassword has running.json written by an `up` whose store is elsewhere.
func TestAnnounceTellsNoPassword(t *testing.T) {
	l, cfg := &Local{dir: t.TempDir()}, DefaultConfig()
	cfg.Store.URL, cfg.Store.Password = "https://me:hunter2@ch.example.net", "hunter3"
	if err := l.announce(cfg); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(l.dir, addressFile))
	if err != nil || strings.Contains(string(text), "hunter") || !strings.Contains(string(text), "https://me@ch.example.net") {
		t.Errorf("%v; it says\n%s", err, text)
	}
}

// TestAnnounceNamesAllAlike has programs find each part of running.json under a name of one form.
func TestAnnounceNamesAllAlike(t *testing.T) {
	l, cfg := &Local{dir: t.TempDir()}, DefaultConfig()
	cfg.Actions.Trust.Triage = []string{"A"}
	if err := l.announce(cfg); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(l.dir, addressFile))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[a-z_]+$`)
	var look func(map[string]any)
	look = func(m map[string]any) {
		for name, value := range m {
			if !form.MatchString(name) {
				t.Errorf("a part is named %q", name)
			}
			if inner, ok := value.(map[string]any); ok {
				look(inner)
			}
		}
	}
	look(all)
}
