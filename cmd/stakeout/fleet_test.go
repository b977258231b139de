package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A fleet is what `stakeout simulate` wrote.
type fleet struct {
	file   string
	lines  int
	agents []string // sorted
	labels []label
}

type label struct {
	Threat   string
	Agent    string
	Sessions []string
	Events   []string
}

// simulated makes the logs of a fleet, the last of them from about now.
func simulated(t testing.TB, agents int, days float64, more ...string) fleet {
	t.Helper()
	dir := t.TempDir()
	f := fleet{file: filepath.Join(dir, "fleet.jsonl")}
	labels := filepath.Join(dir, "labels.jsonl")
	start := time.Now().Add(-time.Duration(days * float64(24*time.Hour))).UTC().Format(time.RFC3339)
	must(t, append([]string{"simulate", "--agents", fmt.Sprint(agents), "--days", fmt.Sprint(days), "--start", start,
		"--out", f.file, "--labels", labels}, more...)...)
	names := map[string]bool{}
	for _, line := range lines(t, f.file) {
		var ev struct {
			Agent string `json:"gen_ai.agent.id"`
		}
		check(t, json.Unmarshal([]byte(line), &ev))
		names[ev.Agent] = true
		f.lines++
	}
	f.agents = slices.Sorted(maps.Keys(names))
	for _, line := range lines(t, labels) {
		var l label
		check(t, json.Unmarshal([]byte(line), &l))
		f.labels = append(f.labels, l)
	}
	return f
}

// lines reads a file of lines.
func lines(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	check(t, err)
	if len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// finding is what these tests look at of a finding.
type finding struct {
	ID         string   `json:"id"`
	Detector   string   `json:"detector"`
	Threat     string   `json:"threat"`
	Severity   int      `json:"severity_id"`
	Agent      string   `json:"agent"`
	Session    string   `json:"session"`
	Reason     string   `json:"reason"`
	Evidence   []string `json:"evidence"`
	Credential struct {
		ID string `json:"id"`
	} `json:"credential"`
}

// outcome is what these tests look at of an outcome.
type outcome struct {
	Action struct {
		ID       string   `json:"id"`
		Incident string   `json:"incident"`
		Kind     string   `json:"kind"`
		Mode     string   `json:"mode"`
		Reason   string   `json:"reason"`
		Findings []string `json:"findings"`
		Target   struct {
			Agent      string `json:"agent"`
			Credential string `json:"credential"`
		} `json:"target"`
		Occurred time.Time `json:"occurred"`
	} `json:"action"`
	Status string    `json:"status"`
	Detail string    `json:"detail"`
	Time   time.Time `json:"time"`
}
