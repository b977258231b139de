package rules

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"
	"go.yaml.in/yaml/v3"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage"
	"github.com/stakeout-project/stakeout/triage/command"
)

var update = flag.Bool("update", false, "write the schemas anew")

// object describes a struct by its yaml keys. Parts say what the types alone do not.
func object(t reflect.Type, required []string, parts map[string]*jsonschema.Schema) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{}, Required: required, AdditionalProperties: none()}
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			key = strings.ToLower(f.Name)
		}
		part := parts[key]
		if part == nil {
			part = plain(f.Type)
		}
		s.Properties[key] = part
	}
	for key := range parts {
		if _, ok := s.Properties[key]; !ok {
			panic("no such key: " + key)
		}
	}
	return s
}

func none() *jsonschema.Schema { return &jsonschema.Schema{Not: &jsonschema.Schema{}} }

// plain describes a value of which no more is known than its type.
func plain(t reflect.Type) *jsonschema.Schema {
	zero := jsonschema.Ptr(0.0)
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string", Pattern: `^(0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$`}, {Type: "integer", Minimum: zero}}}
	case t == reflect.TypeFor[command.Kind]():
		return words(triage.Kinds()...)
	case t == reflect.TypeFor[command.Mode]():
		return words(command.Shadow, command.Approve, command.Auto)
	case t == reflect.TypeFor[triage.Severity]():
		return words("informational", "low", "medium", "high", "critical")
	}
	switch t.Kind() {
	case reflect.Bool:
		return &jsonschema.Schema{Type: "boolean"}
	case reflect.Int:
		return &jsonschema.Schema{Type: "integer", Minimum: zero}
	case reflect.Float64, reflect.Float32:
		return &jsonschema.Schema{Type: "number", Minimum: zero}
	case reflect.Slice: // of globs
		return &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "string", MinLength: jsonschema.Ptr(1), MaxLength: jsonschema.Ptr(1024)}}
	case reflect.String:
		return &jsonschema.Schema{Type: "string"}
	}
	panic("nothing is known of " + t.String())
}

func words[T ~string](all ...T) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, w := range all {
		s.Enum = append(s.Enum, string(w))
	}
	return s
}

func list(items *jsonschema.Schema, least, most int) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", Items: items, MinItems: jsonschema.Ptr(least), MaxItems: jsonschema.Ptr(most)}
}

func between(kind string, least, most float64) *jsonschema.Schema {
	return &jsonschema.Schema{Type: kind, Minimum: &least, Maximum: &most}
}

func more(than, most float64) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "number", ExclusiveMinimum: &than, Maximum: &most}
}

func responseSchema() *jsonschema.Schema {
	type parts = map[string]*jsonschema.Schema
	keys := func() *jsonschema.Schema {
		return &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "string", Pattern: "^A[A-Z2-7]{55}$"}}
	}
	step := object(reflect.TypeFor[triage.Step](), []string{"kind", "mode"}, parts{"retries": between("integer", 0, 100), "at_risk": between("number", 0, 99.999), "approvers": keys()})
	approve, one := any(string(command.Approve)), 1
	step.If = &jsonschema.Schema{Properties: parts{"mode": {Const: &approve}}}
	step.Then = &jsonschema.Schema{Required: []string{"approvers"}, Properties: parts{"approvers": {MinItems: &one}}}
	step.Else = &jsonschema.Schema{Properties: parts{"approvers": {MaxItems: jsonschema.Ptr(0)}}}
	entry := object(reflect.TypeFor[triage.Entry](), []string{"name", "ladder"}, parts{
		"name":  {Type: "string", MinLength: jsonschema.Ptr(1), MaxLength: jsonschema.Ptr(128)},
		"match": object(reflect.TypeFor[triage.Match](), nil, nil), "climb": object(reflect.TypeFor[triage.Climb](), []string{"repeats", "within"}, parts{"repeats": between("integer", 1, 64)}),
		"ladder": list(step, 1, 8), "also": list(step, 0, 8)})
	budgets := &jsonschema.Schema{Type: "object", Properties: parts{}, AdditionalProperties: none()}
	for _, k := range triage.Kinds() {
		if k != command.Watch {
			budgets.Properties[string(k)] = object(reflect.TypeFor[triage.Budget](), []string{"max", "per"}, parts{"max": between("integer", 1, 1000), "per_tenant": between("integer", 0, 1000)})
		}
	}
	s := object(reflect.TypeFor[triage.Policy](), []string{"policies"}, parts{
		"budgets": budgets, "auto_requires": words("", triage.TrustedTelemetry),
		"trusted_telemetry": {Type: "array", Items: object(reflect.TypeFor[triage.Trusted](), []string{"topics"}, parts{"topics": {Type: "array", Items: plain(reflect.TypeFor[[]string]()).Items, MinItems: &one}})},
		"brake":             object(reflect.TypeFor[triage.BrakePolicy](), nil, parts{"approvers": keys()}),
		"risk": object(reflect.TypeFor[triage.RiskPolicy](), nil, parts{"medium": between("number", 0, 100), "high": between("number", 0, 100),
			"criticality": {Type: "array", Items: object(reflect.TypeFor[triage.Criticality](), []string{"factor"}, parts{"factor": between("number", .1, 10)})}}),
		"policies": {Type: "array", Items: entry, MinItems: &one},
	})
	s.Schema, s.Title = "https://json-schema.org/draft/2020-12/schema", "Stakeout response policy"
	return s
}

func detectionSchema() *jsonschema.Schema {
	type parts = map[string]*jsonschema.Schema
	all := &jsonschema.Schema{Type: "object", Properties: parts{}, AdditionalProperties: none(), MinProperties: jsonschema.Ptr(1)}
	add := func(name string, prior bool) {
		s := &jsonschema.Schema{Type: "object", Properties: parts{"share": more(0, 1)}, Required: []string{"share"}, AdditionalProperties: none()}
		if prior {
			s.Properties["prior"] = object(reflect.TypeFor[detect.Prior](), []string{"surprises", "days"}, parts{"surprises": more(0, 1e6), "days": more(0, 1e6)})
			s.Required = append(s.Required, "prior")
		}
		all.Properties[name] = s
	}
	for _, d := range detectors {
		add(d.name, d.prior)
	}
	for _, name := range detect.JointDetectors() {
		add(name, detect.Joint{Name: name}.HasPrior())
	}
	text := &jsonschema.Schema{Type: "string", MinLength: jsonschema.Ptr(1), MaxLength: jsonschema.Ptr(1024)}
	some := func(items *jsonschema.Schema) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "array", Items: items, MinItems: jsonschema.Ptr(1)}
	}
	tool := object(reflect.TypeFor[detect.BOMTool](), []string{"name"}, parts{"name": text, "hash": {Type: "string", Pattern: "^[0-9a-fA-F]{0,128}$"}})
	bom := object(reflect.TypeFor[detect.BOM](), nil, parts{"models": some(text),
		"servers": some(object(reflect.TypeFor[detect.BOMServer](), []string{"address"}, parts{"address": text, "tools": some(tool)})),
		"builds":  some(object(reflect.TypeFor[detect.BOMBuild](), []string{"version"}, parts{"role": {Type: "string", MaxLength: jsonschema.Ptr(1024)}, "version": text}))})
	bom.MinProperties = jsonschema.Ptr(1)
	s := object(reflect.TypeFor[detection](), []string{"version", "budget", "detectors"}, parts{
		"bom":     bom,
		"version": {Type: "string", MinLength: jsonschema.Ptr(1)}, "budget": more(0, 100), "detectors": all})
	s.Schema, s.Title = "https://json-schema.org/draft/2020-12/schema", "Stakeout detection rules"
	return s
}

func TestSchemasAreTheTypes(t *testing.T) {
	for name, s := range map[string]*jsonschema.Schema{"response": responseSchema(), "detection": detectionSchema()} {
		want, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, '\n')
		if *update {
			if err := os.WriteFile(name+".schema.json", want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := Schema(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s.schema.json is not what the types say (go test ./rules -run Schemas -update):\n%s", name, cmp.Diff(string(got), string(want)))
		}
	}
	if _, err := Schema("../secrets"); err == nil {
		t.Error("there is a schema of anything")
	}
}

// refuses reports whether the committed schema refuses a file.
func refuses(t *testing.T, of, file string) bool {
	t.Helper()
	text, err := Schema(of)
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal([]byte(file), &v); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(v)
	if err == nil {
		v = nil
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r.Validate(v) != nil
}

const aKey = "ADDLTP52S6RCQNQU7HBZZ5GWLWNOAVFVFA3S7UYZBWKOGIZU4JPU5WKG"

const aBOM = "{models: [atlas-3], servers: [{address: crm.example, tools: [{name: crm_lookup, hash: ab12}, {name: crm_lookup, hash: cd34}]}, {address: kb.example}], builds: [{role: support, version: '1.4'}, {version: '2'}]}"

// TestSchemaAndLoaderAgree gives the same files to both.
func TestSchemaAndLoaderAgree(t *testing.T) {
	response := func(file string) bool { _, err := ParseResponse("f", []byte(file)); return err != nil }
	detection := func(file string) bool { _, err := parseDetection("f", []byte(file)); return err != nil }
	f := func(of string, loader func(string) bool, file string, schemaRefuses, loaderRefuses bool) {
		t.Helper()
		if s, l := refuses(t, of, file), loader(file); s != schemaRefuses || l != loaderRefuses {
			t.Errorf("refused by schema %t, by loader %t; want %t, %t:\n%s", s, l, schemaRefuses, loaderRefuses, file)
		}
	}
	read := func(file string) string {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	good := []string{read("response.yaml"), read("response.auto.yaml"),
		"policies: [{name: a, ladder: [{kind: page, mode: auto}]}]",
		"budgets: {suspend: {max: 2, per: 1h30m, per_tenant: 1}}\nbrake: {for: 1h, approvers: [" + aKey + "]}\npolicies: [{name: a, climb: {repeats: 2, within: 24h}, ladder: [{kind: watch, mode: auto}, {kind: suspend, mode: approve, approvers: [" + aKey + "], at_risk: 70}]}]",
		"auto_requires: trusted_telemetry\ntrusted_telemetry: [{topics: [raw.acme], agents: ['a*']}]\nrisk: {medium: 30, criticality: [{roles: [payer], factor: 2}]}\npolicies: [{name: a, ladder: [{kind: page, mode: auto}]}]",
	}
	for i, part := range strings.Split(read("../RESPONSE.md"), "```yaml\n") {
		if example, _, _ := strings.Cut(part, "```"); i > 0 {
			good = append(good, example)
		}
	}
	for _, file := range good {
		f("response", response, file, false, false)
	}
	entry := func(s string) string { return "policies: [{name: a, ladder: [" + s + "]}]" }
	page := entry("{kind: page, mode: auto}")
	for _, file := range []string{
		"policies: []", "kill_switch: 3\n" + page, "max_age: soon\n" + page, "max_age: -1h\n" + page, "cooldown: -5\n" + page, "protected: ['']\n" + page, "protect: [x]\n" + page,
		"budgets: {nuke: {max: 1, per: 1h}}\n" + page, "budgets: {watch: {max: 1, per: 1h}}\n" + page, "budgets: {page: {max: 0, per: 1h}}\n" + page, "budgets: {page: {max: 1001, per: 1h}}\n" + page,
		"budgets: {page: {max: 1}}\n" + page, "brake: {for: -1s}\n" + page, "brake: {approvers: [me]}\n" + page, "risk: {criticality: [{factor: 99}]}\n" + page, "auto_requires: luck\n" + page,
		"trusted_telemetry: [{agents: [a]}]\n" + page, "policies: [{ladder: [{kind: page, mode: auto}]}]", "policies: [{name: a, ladder: []}]", "policies: [{name: a}]",
		"policies: [{name: a, climb: {repeats: 0, within: 1h}, ladder: [{kind: page, mode: auto}]}]", "policies: [{name: a, match: {min_severity: hihg}, ladder: [{kind: page, mode: auto}]}]",
		entry("{kind: nuke, mode: auto}"), entry("{kind: page, mode: atuo}"), entry("{kind: page}"), entry("{mode: auto}"), entry("{kind: page, mode: auto, retries: 101}"),
		entry("{kind: page, mode: auto, approvers: [" + aKey + "]}"), "budgets: {suspend: {max: 1, per: 1h}}\n" + entry("{kind: suspend, mode: approve}"), entry("{kind: page, mode: auto, at_risk: 100}"),
	} {
		f("response", response, file, true, true)
	}
	for _, file := range []string{ // what only the whole shows
		entry("{kind: suspend, mode: auto}"), "policies: [{name: a, ladder: [{kind: page, mode: auto}]}, {name: a, ladder: [{kind: page, mode: auto}]}]",
		entry("{kind: page, mode: auto, lease: 1h}"), "auto_requires: trusted_telemetry\n" + page, "risk: {medium: 80}\n" + page, "budgets: {page: {max: 1, per: 1ms}}\n" + page,
	} {
		f("response", response, file, false, true)
	}

	f("detection", detection, read("detection.yaml"), false, false)
	some := "version: a\nbudget: 0.01\ndetectors:\n  "
	f("detection", detection, some+"privilege_drift: {share: 0.5}", false, false)
	for _, file := range []string{
		"budget: 1\ndetectors: {privilege_drift: {share: 0.5}}", "version: a\nbudget: 0\ndetectors: {privilege_drift: {share: 0.5}}", "version: a\nbudget: often\ndetectors: {privilege_drift: {share: 0.5}}",
		some + "telepathy: {share: 0.1}", some + "privilege_drift: {share: 2}", some + "privilege_drift: {share: 0.1, prior: {surprises: 1, days: 1}}", some + "memory: {share: 0.1}",
		some + "memory: {share: 0.1, prior: {surprises: 0, days: 1}}", some + "memory: {share: 0.1, prior: {surprise: 1, days: 1}}", "version: a\nbudget: 1\ndetectors: {}", "version: a\nbudgets: 1",
	} {
		f("detection", detection, file, true, true)
	}
	supply := some + "supply_chain: {share: 0.1, prior: {surprises: 1, days: 1}}\nbom: "
	f("detection", detection, supply+aBOM, false, false)
	for _, bom := range []string{"{}", "{models: []}", "{models: ['']}", "{modles: [a]}", "{servers: [{tools: [{name: t}]}]}", "{servers: [{address: a, tools: []}]}",
		"{servers: [{address: a, tools: [{hash: ab}]}]}", "{servers: [{address: a, tools: [{name: t, hash: sha256}]}]}", "{builds: [{role: clerk}]}"} {
		f("detection", detection, supply+bom, true, true)
	}
	f("detection", detection, supply+"{models: [a, a]}", false, true)
	f("detection", detection, some+"privilege_drift: {share: 0.9}\nbom: {models: [a]}", false, true)
	f("detection", detection, some+"privilege_drift: {share: 0.9}\n  slow_drift: {share: 0.9}", false, true)
}
