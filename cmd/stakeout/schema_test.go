package main_test

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestConfigSchema(t *testing.T) {
	for of, key := range map[string]string{"response": "policies", "detection": "detectors"} {
		var s struct {
			Schema     string `json:"$schema"`
			Properties map[string]any
		}
		if err := json.Unmarshal([]byte(must(t, "config", "schema", of)), &s); err != nil || s.Properties[key] == nil || !strings.Contains(s.Schema, "2020-12") {
			t.Errorf("schema of %s: %v, %v", of, err, s)
		}
	}
	if r := stakeout(t, "config", "schema", "secrets"); r.code == 0 {
		t.Errorf("there is a schema of anything: %s", r.out)
	}
}
