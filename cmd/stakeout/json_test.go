package main_test

import (
	"encoding"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	report "github.com/stakeout-project/stakeout/cmd/internal/backtest"
	"github.com/stakeout-project/stakeout/cmd/internal/demo"
	"github.com/stakeout-project/stakeout/cmd/internal/drill"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage/command"
)

var (
	documented = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)`( °)? \\| (\\w+) \\|")
	chapter    = regexp.MustCompile(`(?m)^## (.+)$`)
)

// TestJSONIsDocumented holds docs/json.md, which programs are written by, to what is
// printed: a field that is renamed, dropped, left out or of another type fails here.
func TestJSONIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/json.md")
	check(t, err)
	told := map[string][]string{} // rows by chapter
	starts := chapter.FindAllStringSubmatchIndex(string(page), -1)
	for i, at := range starts {
		end := len(page)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		name := string(page[at[2]:at[3]])
		for _, m := range documented.FindAllStringSubmatch(string(page[at[1]:end]), -1) {
			told[name] = append(told[name], m[1]+m[2]+" "+m[3])
		}
	}
	want := map[string][]string{
		"finding":            members(reflect.TypeFor[detect.Finding]()),
		"incident":           members(reflect.TypeFor[command.Incident]()),
		"incident file":      members(reflect.TypeFor[store.IncidentFile]()),
		"outcome":            members(reflect.TypeFor[command.Outcome]()),
		"action":             members(reflect.TypeFor[command.Action]()),
		"risk":               members(reflect.TypeFor[command.Risk]()),
		"agent":              members(reflect.TypeFor[store.Agent]()),
		"reject":             members(reflect.TypeFor[store.Reject]()),
		"dwell":              members(reflect.TypeFor[store.Stage]()),
		"coverage":           members(reflect.TypeFor[store.Coverage]()),
		"suppression":        members(reflect.TypeFor[store.SuppressionCount]()),
		"brake":              members(reflect.TypeFor[command.Brake]()),
		"audit":              members(reflect.TypeFor[store.Audited]()),
		"ship":               members(reflect.TypeFor[app.Shipped]()),
		"backtest":           members(reflect.TypeFor[report.Report]()),
		"backtest --compare": members(reflect.TypeFor[report.Comparison]()),
		"demo":               members(reflect.TypeFor[demo.Result]()),
		"drill":              members(reflect.TypeFor[drill.Result]()),
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("what is printed, and what docs/json.md says (-printed +documented):\n%s", diff)
	}
}

// members lists the fields of a struct as encoding/json writes them.
func members(t reflect.Type) (rows []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			rows = append(rows, members(f.Type)...)
			continue
		}
		if strings.HasPrefix(options, "omit") {
			name += " °"
		}
		rows = append(rows, name+" "+jsonType(f.Type))
	}
	return rows
}

var text = reflect.TypeFor[encoding.TextMarshaler]()

// jsonType names the type of a value as the page does.
func jsonType(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Implements(text) {
		return "time"
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list"
	case reflect.Struct, reflect.Map:
		return "object"
	}
	panic(fmt.Sprintf("a field is a %s", t))
}
