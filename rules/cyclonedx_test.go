package rules

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/detect"
)

// anMLBOM is a document as an inventory would write it, with all that we read and more.
const anMLBOM = `{
  "bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79", "version": 1,
  "metadata": {"component": {"type": "application", "name": "support-agent", "version": "1.4", "properties": [{"name": "stakeout:role", "value": "support"}]}},
  "components": [
    {"type": "machine-learning-model", "bom-ref": "m1", "name": "atlas-3", "modelCard": {"modelParameters": {"task": "chat"}}},
    {"type": "machine-learning-model", "name": "Corvid", "version": "2", "properties": [
      {"name": "stakeout:model", "value": "corvid-2"}, {"name": "stakeout:model", "value": "corvid-2-mini"}, {"name": "other", "value": "x"}]},
    {"type": "library", "name": "requests", "version": "2.0", "components": [{"type": "machine-learning-model", "name": "embedder"}]},
    {"type": "machine-learning-model", "name": "atlas-3"},
    {"type": "application", "name": "helper", "version": "1.5", "properties": [{"name": "stakeout:role", "value": "support"}]}
  ],
  "services": [
    {"name": "crm", "endpoints": ["https://crm.example:8443/mcp", "crm-2.example:443"],
     "properties": [{"name": "stakeout:tool", "value": "crm_lookup 5F1D9A7C"}, {"name": "stakeout:tool", "value": "crm_note"}]},
    {"name": "kb.example", "services": [{"name": "inner", "endpoints": ["http://[::1]:80/"]}]},
    {"name": "crm again", "endpoints": ["https://crm.example/other"], "properties": [{"name": "stakeout:tool", "value": "crm_lookup aa"}]}
  ]
}`

func TestCycloneDX(t *testing.T) {
	got, left, err := CycloneDX(strings.NewReader(anMLBOM))
	if err != nil || left != 1 {
		t.Fatalf("%d components left, %v; want the library", left, err)
	}
	tools := []detect.BOMTool{{Name: "crm_lookup", Hash: "5f1d9a7c"}, {Name: "crm_note"}}
	want := &detect.BOM{
		Models: []string{"atlas-3", "corvid-2", "corvid-2-mini", "embedder"},
		Servers: []detect.BOMServer{{Address: "crm.example", Tools: append(tools[:2:2], detect.BOMTool{Name: "crm_lookup", Hash: "aa"})},
			{Address: "crm-2.example", Tools: tools}, {Address: "::1"}, {Address: "kb.example"}},
		Builds: []detect.BOMBuild{{Role: "support", Version: "1.4"}, {Role: "support", Version: "1.5"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bill of materials (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, section(t, got)); diff != "" {
		t.Errorf("written as a section and read again (-want +got):\n%s", diff)
	}
}

// section writes a bill of materials as the section of a file of rules, and has it read.
func section(t *testing.T, b *detect.BOM) *detect.BOM {
	t.Helper()
	text, err := BOMSection(b)
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseDetection("my.yaml", append([]byte("version: a\nbudget: 1\ndetectors:\n  supply_chain: {share: 0.1, prior: {surprises: 1, days: 1}}\n"), text...))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return r.BOM
}

func TestCycloneDXRefusals(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		b, _, err := CycloneDX(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s: %+v, %v; want it refused with %q", text, b, err, want)
		}
	}
	doc := func(more string) string { return `{"bomFormat":"CycloneDX","specVersion":"1.7"` + more + `}` }
	models := func(name string) string {
		return fmt.Sprintf(`,"components":[{"type":"machine-learning-model","name":%q}]`, name)
	}
	f("", "is no CycloneDX document")
	f("<bom/>", "is XML, want CycloneDX as JSON")
	f(`{"spdxVersion":"SPDX-2.3"}`, `bomFormat: is "", want CycloneDX`)
	f(`{"bomFormat":"CycloneDX","specVersion":"1.4"}`, `specVersion: is "1.4", want 1.5, 1.6 or 1.7`)
	f(doc(""), "nothing to hold agents to")
	f(doc(`,"components":[{"type":"library","name":"x"}]`), "nothing to hold agents to")
	f(doc(`,"components":{}`), "is no CycloneDX document")
	f(doc(models("")), "components[0].name: has 0 bytes, want 1 to 1024")
	f(doc(models(strings.Repeat("m", 1025))), "components[0].name: has 1025 bytes")
	f(doc(`,"services":[{"name":"a","endpoints":["https://"]}]`), `services[0].endpoints[0]: is "https://", want a URL or a host`)
	f(doc(`,"services":[{"name":""}]`), "services[0].name: has 0 bytes")
	f(doc(`,"services":[{"name":"a","properties":[{"name":"stakeout:tool","value":"t sha256:ab"}]}]`), `services[0].stakeout:tool: is "t sha256:ab", want a name and the hexadecimal digits`)
	f(doc(`,"services":[{"name":"a","properties":[{"name":"stakeout:tool","value":"t ab"},{"name":"stakeout:tool","value":"t"}]}]`), `the tool "t" of "a" stands with a hash and without`)
	f(doc(`,"components":[{"type":"application","properties":[{"name":"stakeout:role","value":"r"}]}]`), "components[0].version: has 0 bytes")
	f(doc(`,"components":`+strings.Repeat(`[{"components":`, 40)+`[]`+strings.Repeat(`}]`, 40)), "lies deeper than 32")
	f(doc(`,"components":[`+strings.Repeat(`{},`, cycloneParts)+`{}]`), "more than 100000 parts")
	f(strings.Repeat(" ", cycloneBytes+1), "more than 16777216 bytes")
}

func FuzzCycloneDX(f *testing.F) {
	f.Add([]byte(anMLBOM))
	f.Add([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.7","services":[{"name":"a","properties":[{"name":"stakeout:tool","value":"t"}]},{"name":"a"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, _, err := CycloneDX(strings.NewReader(string(text)))
		if err != nil {
			return
		}
		if diff := cmp.Diff(b, section(t, b)); diff != "" {
			t.Errorf("written as a section and read again (-want +got):\n%s", diff)
		}
	})
}
