package kubernetes_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestOptions fails when a component does not open the port it is for to triage, or
// patches what is not there.
func TestOptions(t *testing.T) {
	_, all := manifests(t)
	triage := all[slices.IndexFunc(all, func(m manifest) bool { return m.Kind == "Deployment" && m.Metadata.Name == "stakeout-triage" })]
	f := func(option string, port int, patched ...string) {
		t.Helper()
		var c struct {
			Kind      string
			Resources []string
			Patches   []struct {
				Target struct{ Kind, Name string }
				Patch  string
			}
		}
		parse(t, filepath.Join("options", option, "kustomization.yaml"), &c)
		if c.Kind != "Component" || !slices.Equal(c.Resources, []string{"networkpolicy.yaml"}) {
			t.Errorf("%s is %+v, want a component with a network policy", option, c)
		}
		var np manifest
		parse(t, filepath.Join("options", option, "networkpolicy.yaml"), &np)
		if !np.Spec.PodSelector.matches(triage.Spec.Template.Metadata.Labels) || np.Spec.Egress[0].Ports[0].Port != port {
			t.Errorf("%s: its policy does not let triage reach port %d: %+v", option, port, np.Spec)
		}
		var got []string
		for _, p := range c.Patches {
			if p.Target.Kind != triage.Kind || p.Target.Name != triage.Metadata.Name {
				t.Errorf("%s patches %+v, which is not there", option, p.Target)
			}
			var ops []struct{ Op, Path string }
			if err := yaml.Unmarshal([]byte(p.Patch), &ops); err != nil {
				t.Fatal(err)
			}
			for _, op := range ops {
				got = append(got, strings.TrimPrefix(op.Path, "/spec/template/spec/"))
			}
		}
		if !slices.Equal(got, patched) {
			t.Errorf("%s patches %q, want %q", option, got, patched)
		}
	}
	f("triage-model", 443)
	f("triage-history", 9440, "volumes/-", "containers/0/volumeMounts/-", "containers/0/env/-", "containers/0/env/-")
}
