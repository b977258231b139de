package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUpReadsRulesFirst has every file of rules broken: all of it is told, and nothing
// is started, nor made on the disk.
func TestUpReadsRulesFirst(t *testing.T) {
	dir, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
	broken := func(name string) string {
		name = filepath.Join(dir, name)
		check(t, os.WriteFile(name, []byte("bogus: 1\n"), 0o600))
		return name
	}
	files := settings{"detection": broken("detection.yaml"), "response": broken("response.yaml"), "peers": broken("peers.json")}
	r := stakeout(t, "up", "--config", local(data, settings{"rules": files}).write(t))
	if r.code != 1 || strings.Contains(r.out, "ready") {
		t.Errorf("up: exit status %d, want 1\n%s%s", r.code, r.out, r.err)
	}
	for _, name := range files {
		if !strings.Contains(r.err, name.(string)) {
			t.Errorf("up does not tell of %s: %s", name, r.err)
		}
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("up has made %s, or so: %v", data, err)
	}
}
