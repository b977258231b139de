package app

import (
	"os"
	"path/filepath"
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
