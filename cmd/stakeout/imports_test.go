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
// imports, its tests left out.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Imports", "./...")
	cmd.Dir = "../.."
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, errOut.String())
	}
	imports := map[string][]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return imports
		}
		check(t, err)
		name := strings.TrimPrefix(p.ImportPath, module)
		imports[name] = nil
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module); ok {
				imports[name] = append(imports[name], ours)
			}
		}
	}
}

// TestImports holds the picture of which room knows which: what is not in a row
// must not be imported, and every room has a row.
func TestImports(t *testing.T) {
	all := packages(t)
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
	f("triage/command", "ingest/event")
	f("triage", "detect", "ingest/event", "ingest/stream", "triage/command")
	f("triage/executor", "ingest/event", "triage/command")
	f("triage/posture", "ingest/event", "triage/command")
	f("store", "detect", "ingest/event", "ingest/stream", "triage/command")
	f("store/chdb")
	f("rules", "detect", "triage", "triage/command", "ingest/event")
	f("deploy/local")
	f("deploy/kafka")
	f("deploy/testsum")

	for pkg, imports := range all {
		for _, i := range imports {
			if strings.HasPrefix(i, "cmd/") && !strings.HasPrefix(pkg, "cmd/") {
				t.Errorf("%s imports %s, want commands to import rooms only", pkg, i)
			}
		}
		if !seen[pkg] && !strings.HasPrefix(pkg, "cmd/") {
			t.Errorf("%s has no row of what it may import", pkg)
		}
		if slices.Contains([]string{"common", "util", "utils", "types", "models", "pkg", "helpers"}, path.Base(pkg)) {
			t.Errorf("%s says nothing of what it is about", pkg)
		}
		if strings.Contains(pkg, "internal") && !strings.HasPrefix(pkg, "cmd/internal/") {
			t.Errorf("%s is internal, want that below cmd only", pkg)
		}
	}
}
