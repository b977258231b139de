package dashboards

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// literals collects the strings that stand in the repository's Go files, by
// directory, tests left out.
func literals(t *testing.T) map[string]map[string]bool {
	t.Helper()
	all := map[string]map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "node_modules" || name == "testdata" || strings.HasPrefix(name, ".") && name != ".." {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		if all[dir] == nil {
			all[dir] = map[string]bool{}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					all[dir][s] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// registered finds the packages that may register a metric: those that hold its
// name, or a prefix of it and the rest, or namespace, subsystem and the rest, joined
// by them or by the package.
func registered(lits map[string]map[string]bool, metric string) []map[string]bool {
	var dirs []map[string]bool
	for _, dir := range lits {
		parts := strings.SplitN(metric, "_", 3)
		if dir[metric] || len(parts) == 3 && dir[parts[2]] && (dir[parts[0]+"_"+parts[1]+"_"] || dir[parts[0]] && dir[parts[1]]) ||
			len(parts) == 3 && dir[parts[0]+"_"] && dir[parts[1]] && dir["_"+parts[2]] {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

var (
	quoted     = regexp.MustCompile(`"[^"]*"`)
	grouping   = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	selector   = regexp.MustCompile(`([a-z_:][a-z0-9_:]*)\s*\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	ourMetric  = regexp.MustCompile(`\bstakeout_[a-z0-9_]+\b`)
	anyName    = regexp.MustCompile(`\b[a-z_][a-z0-9_]*\b`)
	histograms = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// words of PromQL and of Grafana that are no metrics.
var words = map[string]bool{
	"sum": true, "max": true, "min": true, "by": true, "on": true, "and": true, "or": true, "unless": true, "offset": true, "rate": true, "increase": true,
	"deriv": true, "histogram_quantile": true, "time": true, "timestamp": true, "max_over_time": true, "group_left": true, "vector": true, "m": true, "h": true, "__rate_interval": true, "le": true,
	"up": true, // what Prometheus itself knows of each target
}

// TestMetrics fails when a dashboard or an alert rule asks for a metric or a
// label that no package registers.
func TestMetrics(t *testing.T) {
	lits := literals(t)
	check := func(where, expr string) {
		t.Helper()
		plain := quoted.ReplaceAllString(expr, `""`)
		labels := map[string]bool{}
		for _, m := range grouping.FindAllStringSubmatch(plain, -1) {
			for l := range strings.SplitSeq(m[1], ",") {
				if l = strings.TrimSpace(l); l != "" { // on () matches whatever the labels are
					labels[l] = true
				}
			}
		}
		for _, m := range selector.FindAllStringSubmatch(plain, -1) {
			for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
				labels[l[1]] = true
			}
		}
		metrics := ourMetric.FindAllString(plain, -1)
		if len(metrics) == 0 && !strings.Contains(plain, "up{") {
			t.Errorf("%s: %s asks for no metric of ours", where, expr)
		}
		for _, metric := range metrics {
			dirs := registered(lits, metric)
			if len(dirs) == 0 {
				dirs = registered(lits, histograms.ReplaceAllString(metric, ""))
			}
			if len(dirs) == 0 {
				t.Errorf("%s: no package registers %s", where, metric)
				continue
			}
			for l := range labels {
				if l != "le" && l != "job" && l != "instance" && !slices.ContainsFunc(dirs, func(dir map[string]bool) bool { return dir[l] }) {
					t.Errorf("%s: %s has no label %s", where, metric, l)
				}
			}
		}
		for _, name := range anyName.FindAllString(plain, -1) {
			if !words[name] && !labels[name] && !strings.HasPrefix(name, "stakeout_") {
				t.Errorf("%s: %s is neither a metric of ours nor a word that is known here", where, name)
			}
		}
	}
	for name, b := range boards(t) {
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				if q.Expr != "" {
					check(name+", "+p.Title, q.Expr)
				}
			}
		}
	}
	for _, r := range rules(t) {
		check("rule "+r.Title, r.Data[0].Model.Expr)
	}
}
