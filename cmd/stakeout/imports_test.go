package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/stakeout-project/stakeout/"

// packages are the module's packages and which others of the module each
// imports, its tests left out; programs are those that are commands.
func packages(t *testing.T) (imports map[string][]string, programs map[string]bool) {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Imports", "./...")
	cmd.Dir = "../.."
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, errOut.String())
	}
	imports, programs = map[string][]string{}, map[string]bool{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Name string
			Imports          []string
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return imports, programs
		}
		check(t, err)
		name := strings.TrimPrefix(p.ImportPath, module)
		imports[name], programs[name] = nil, p.Name == "main"
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module); ok {
				imports[name] = append(imports[name], ours)
			}
		}
	}
}

// TestImports holds the picture of which room knows which: what is not in a row
// must not be imported.
func TestImports(t *testing.T) {
	all, programs := packages(t)
	seen := map[string]bool{}
	f := func(pkg string, may ...string) {
		t.Helper()
		imports, ok := all[pkg]
		if !ok {
			t.Errorf("there is no package %s", pkg)
		}
		seen[pkg] = true
		for _, i := range imports {
			if !slices.Contains(may, i) {
				t.Errorf("%s imports %s, want only %q", pkg, i, may)
			}
		}
	}
	f("ingest/event")
	f("ingest/stream")
	f("ingest", "ingest/event", "ingest/stream")
	f("detect", "ingest/event")
	f("detect/entity", "detect", "ingest/event")
	f("detect/story", "detect", "ingest/event")
	f("triage/command", "ingest/event")
	f("triage", "detect", "ingest/event", "ingest/stream", "triage/command")
	f("triage/executor", "ingest/event", "triage/command")
	f("triage/posture", "ingest/event", "triage/command")
	f("store", "detect", "ingest/event", "ingest/stream", "triage/command")
	f("store/chdb")
	f("store/chdb/chdbtest", "store/chdb")
	f("rules", "detect", "triage", "triage/command", "ingest/event")
	f("deploy/local")
	f("deploy/kafka")
	f("deploy/certs")
	f("deploy/apart")

	for pkg, imports := range all {
		for _, i := range imports {
			if strings.HasPrefix(i, "cmd/") && !strings.HasPrefix(pkg, "cmd/") {
				t.Errorf("%s imports %s, want commands to import rooms only", pkg, i)
			}
		}
		if !seen[pkg] && !programs[pkg] && !strings.HasPrefix(pkg, "cmd/") {
			f(pkg) // until it has a row: nothing of ours
		}
		if slices.Contains([]string{"common", "util", "utils", "types", "models", "pkg", "helpers"}, path.Base(pkg)) {
			t.Errorf("%s says nothing of what it is about", pkg)
		}
		if strings.Contains(pkg, "internal") && !strings.HasPrefix(pkg, "cmd/internal/") {
			t.Errorf("%s is internal, want that below cmd only", pkg)
		}
	}
}
