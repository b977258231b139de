// Package shippers_test checks that every example delivers to the raw topic,
// keyed by the agent.
package shippers_test

import (
	"os"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"
)

func TestExamples(t *testing.T) {
	parsers := map[string]func([]byte) error{
		"vector.toml":     func(b []byte) error { return toml.Unmarshal(b, new(map[string]any)) },
		"fluent-bit.yaml": func(b []byte) error { return yaml.Unmarshal(b, new(map[string]any)) },
		"filebeat.yml":    func(b []byte) error { return yaml.Unmarshal(b, new(map[string]any)) },
		"rsyslog.conf":    func([]byte) error { return nil },
		"kcat.sh":         func([]byte) error { return nil },
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, parse := range parsers {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := parse(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		text := strings.ReplaceAll(string(data), `\.`, ".") // as sed's expression has it
		for _, want := range []string{"stakeout.raw", "gen_ai.agent.id", "127.0.0.1:9092", "lz4"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: does not name %s", name, want)
			}
		}
		if !strings.Contains(string(readme), "("+name+")") {
			t.Errorf("README.md: does not link %s", name)
		}
	}
}
