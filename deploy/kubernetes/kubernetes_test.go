// Package kubernetes_test checks the manifests against each other and against
// the program that they run.
package kubernetes_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"go.yaml.in/yaml/v3"

	"github.com/stakeout-project/stakeout/rules"
)

type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Selector    selector
		PodSelector selector `yaml:"podSelector"`
		Egress      []struct{ Ports []struct{ Port int } }
		Template    struct {
			Metadata struct{ Labels map[string]string }
			Spec     pod
		}
	}
}

type selector struct {
	Labels      map[string]string `yaml:"matchLabels"`
	Expressions []struct {
		Key, Operator string
		Values        []string
	} `yaml:"matchExpressions"`
}

func (s selector) matches(labels map[string]string) bool {
	for k, v := range s.Labels {
		if labels[k] != v {
			return false
		}
	}
	for _, e := range s.Expressions {
		if e.Operator != "In" || !slices.Contains(e.Values, labels[e.Key]) {
			return false
		}
	}
	return true
}

type pod struct {
	Automount  *bool       `yaml:"automountServiceAccountToken"`
	Security   security    `yaml:"securityContext"`
	Init       []container `yaml:"initContainers"`
	Containers []container
	Volumes    []struct {
		Name      string
		ConfigMap struct{ Name string } `yaml:"configMap"`
	}
}

type container struct {
	Name, Image string
	Args        []string
	Env         []struct{ Name, Value string }
	Ports       []struct {
		Name string
		Port int `yaml:"containerPort"`
	}
	Liveness  probe    `yaml:"livenessProbe"`
	Readiness probe    `yaml:"readinessProbe"`
	Security  security `yaml:"securityContext"`
	Resources struct{ Requests, Limits map[string]string }
	Mounts    []struct {
		Name string
		Path string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type security struct {
	NonRoot    bool                    `yaml:"runAsNonRoot"`
	ReadOnly   bool                    `yaml:"readOnlyRootFilesystem"`
	Escalation *bool                   `yaml:"allowPrivilegeEscalation"`
	Drop       struct{ Drop []string } `yaml:"capabilities"`
	Seccomp    struct{ Type string }   `yaml:"seccompProfile"`
}

type probe struct {
	Get struct{ Path, Port string } `yaml:"httpGet"`
}

type kustomization struct {
	Resources []string
	Images    []struct{ Name string }
	Maps      []struct {
		Name  string
		Files []string
	} `yaml:"configMapGenerator"`
}

func parse(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func manifests(t *testing.T) (kustomization, []manifest) {
	t.Helper()
	var k kustomization
	parse(t, "kustomization.yaml", &k)
	var all []manifest
	for _, name := range k.Resources {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
			var m manifest
			err := d.Decode(&m)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all = append(all, m)
		}
	}
	return k, all
}

func TestDeployments(t *testing.T) {
	k, all := manifests(t)
	var roles []string
	for _, m := range all {
		if m.Kind != "Deployment" {
			continue
		}
		name, labels, p := m.Metadata.Name, m.Spec.Template.Metadata.Labels, m.Spec.Template.Spec
		role := labels["app.kubernetes.io/component"]
		roles = append(roles, role)
		if name != "stakeout-"+role || !m.Spec.Selector.matches(labels) {
			t.Errorf("%s: name, selector and labels do not belong together", name)
		}
		if p.Automount == nil || *p.Automount || !p.Security.NonRoot || p.Security.Seccomp.Type != "RuntimeDefault" {
			t.Errorf("%s: want no service account token, no root and a seccomp profile", name)
		}
		volumes := map[string]bool{}
		for _, v := range p.Volumes {
			volumes[v.Name] = true
			if cm := v.ConfigMap.Name; cm != "" && !slices.ContainsFunc(k.Maps, func(m struct {
				Name  string
				Files []string
			}) bool {
				return m.Name == cm
			}) {
				t.Errorf("%s: ConfigMap %s is not made", name, cm)
			}
		}
		for _, c := range append(slices.Clone(p.Init), p.Containers...) {
			if s := c.Security; !s.ReadOnly || s.Escalation == nil || *s.Escalation || !slices.Equal(s.Drop.Drop, []string{"ALL"}) {
				t.Errorf("%s, %s: want a read-only root, no escalation and no capabilities", name, c.Name)
			}
			if c.Resources.Requests["cpu"] == "" || c.Resources.Requests["memory"] == "" || c.Resources.Limits["memory"] == "" {
				t.Errorf("%s, %s: want requests and a limit of memory", name, c.Name)
			}
			for _, mnt := range c.Mounts {
				if !volumes[mnt.Name] {
					t.Errorf("%s, %s: mounts %s, which is no volume", name, c.Name, mnt.Name)
				}
			}
		}
		c := p.Containers[0]
		if c.Image != k.Images[0].Name || c.Args[0] != role {
			t.Errorf("%s: runs %s %q", name, c.Image, c.Args)
		}
		if c.Liveness.Get.Path != "/healthz" || c.Readiness.Get.Path != "/readyz" || c.Liveness.Get.Port != c.Ports[0].Name || c.Readiness.Get.Port != c.Ports[0].Name || c.Ports[0].Port != 9600 {
			t.Errorf("%s: probes %+v and %+v do not ask port %+v", name, c.Liveness, c.Readiness, c.Ports)
		}
		for _, kind := range []string{"PodDisruptionBudget", "NetworkPolicy"} {
			if !slices.ContainsFunc(all, func(other manifest) bool {
				s := other.Spec.Selector
				if kind == "NetworkPolicy" {
					s = other.Spec.PodSelector
				}
				return other.Kind == kind && s.matches(labels)
			}) {
				t.Errorf("%s: no %s covers it", name, kind)
			}
		}
	}
	slices.Sort(roles)
	if want := []string{"detect", "executor", "ingest", "store", "triage"}; !slices.Equal(roles, want) {
		t.Errorf("roles are %q, want %q", roles, want)
	}
}

// needs are the parts of stakeout.yaml that a role reads.
var needs = map[string][]string{
	"ingest": {"kafka"}, "detect": {"kafka", "rules"}, "triage": {"kafka", "rules", "triage"}, "store": {"kafka", "store", "actions"}, "executor": {"executor", "oauth", "page"},
}

var (
	filePath = regexp.MustCompile(`(?:file|key|detection|response|vault): (/[^\s,}]+)`)
	port     = regexp.MustCompile(`\.example\.net:([0-9]+)`)
)

// TestPaths fails when a role's configuration names a file that its pod does
// not mount, or an address that its network policies do not let it reach.
func TestPaths(t *testing.T) {
	var config map[string]yaml.Node
	parse(t, "stakeout.yaml", &config)
	_, all := manifests(t)
	for _, m := range all {
		if m.Kind != "Deployment" {
			continue
		}
		labels := m.Spec.Template.Metadata.Labels
		var mounts, ports []string
		for _, mnt := range m.Spec.Template.Spec.Containers[0].Mounts {
			mounts = append(mounts, mnt.Path)
		}
		for _, np := range all {
			if np.Kind == "NetworkPolicy" && np.Spec.PodSelector.matches(labels) {
				for _, e := range np.Spec.Egress {
					for _, p := range e.Ports {
						ports = append(ports, strconv.Itoa(p.Port))
					}
				}
			}
		}
		for _, part := range needs[labels["app.kubernetes.io/component"]] {
			node := config[part]
			text, err := yaml.Marshal(&node)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range filePath.FindAllSubmatch(text, -1) {
				path := string(f[1])
				if !slices.ContainsFunc(mounts, func(mnt string) bool { return path == mnt || strings.HasPrefix(path, mnt+"/") }) {
					t.Errorf("%s: %s is not mounted, only %q are", m.Metadata.Name, path, mounts)
				}
			}
			for _, p := range port.FindAllSubmatch(text, -1) {
				if !slices.Contains(ports, string(p[1])) {
					t.Errorf("%s: may not reach port %s of %s, only %q", m.Metadata.Name, p[1], part, ports)
				}
			}
		}
	}
}

// TestRules holds the copies that kustomize needs beside it to the shipped rules.
func TestRules(t *testing.T) {
	for _, name := range []string{"detection.yaml", "response.yaml"} {
		copied, err := os.ReadFile(filepath.Join("rules", name))
		if err != nil {
			t.Fatal(err)
		}
		shipped, err := rules.Shipped.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(copied, shipped) {
			t.Errorf("rules/%s is another than what is shipped: make manifests", name)
		}
	}
}

// TestRoles runs every role with its configuration. It must get as far as to
// miss its mounted files: by then every key and value has been accepted.
func TestRoles(t *testing.T) {
	dir := t.TempDir()
	stakeout := filepath.Join(dir, "stakeout")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", stakeout, "../../cmd/stakeout").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	text, err := os.ReadFile("stakeout.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := regexp.MustCompile(`PUBLIC_ACCOUNT_KEY_OF_[A-Z]+`).ReplaceAllFunc(text, func([]byte) []byte { return []byte(publicKey(t)) })
	if bytes.Equal(config, text) {
		t.Fatal("no placeholder for a key was found")
	}
	file := filepath.Join(dir, "stakeout.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	_, all := manifests(t)
	for _, m := range all {
		if m.Kind != "Deployment" {
			continue
		}
		c := m.Spec.Template.Spec.Containers[0]
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		cmd := exec.CommandContext(ctx, stakeout, c.Args[0], "--config", file, "--set", "http.listen=127.0.0.1:0")
		for _, e := range c.Env {
			cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
		}
		out, err := cmd.CombinedOutput()
		cancel()
		if said := string(out); err == nil || strings.Contains(said, "configuration:") || !strings.Contains(said, "no such file") {
			t.Errorf("%s: %v, want it to miss its files only\n%s", m.Metadata.Name, err, said)
		}
	}
}

func publicKey(t *testing.T) string {
	t.Helper()
	kp, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}
