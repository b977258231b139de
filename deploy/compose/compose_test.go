// Package compose_test checks what Docker would otherwise be the first to find:
// names, ports and settings of the compose file, against the program itself.
package compose_test

import (
	"bufio"
	"debug/elf"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// file is of a compose file what the tests look at.
type file struct {
	Services map[string]service
	Secrets  map[string]struct{ File string }
	Volumes  map[string]any
	Networks map[string]any
}

type service struct {
	Image       string
	Build       map[string]string
	Command     []string
	User        string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	Environment map[string]string
	EnvFile     []string `yaml:"env_file"`
	Secrets     []string
	Ports       []string
	Volumes     []string
	Networks    []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck struct{ Test []string }
}

func compose(t *testing.T) file {
	t.Helper()
	data, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var f file
	if err := yaml.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// roles are the services that run our own image.
func (f file) roles() map[string]service {
	roles := maps.Clone(f.Services)
	maps.DeleteFunc(roles, func(_ string, s service) bool { return s.Image != "stakeout:local" })
	return roles
}

// initialised runs init.sh and returns its directory and the variables it wrote to .env.
func initialised(t *testing.T) (dir string, env map[string]string) {
	t.Helper()
	dir = t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "./init.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("init.sh: %v\n%s", err, out)
	}
	return dir, envFile(t, filepath.Join(dir, ".env"))
}

func envFile(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	env := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), "="); ok && !strings.HasPrefix(key, "#") {
			env[key] = value
		}
	}
	return env
}

var reference = regexp.MustCompile(`\$\{([A-Z_]+)(:\?[^}]*)?\}`)

// interpolate does what compose does with ${NAME} and ${NAME:?message}.
func interpolate(t *testing.T, s string, env map[string]string) string {
	t.Helper()
	return reference.ReplaceAllStringFunc(s, func(ref string) string {
		name := reference.FindStringSubmatch(ref)[1]
		if env[name] == "" {
			t.Errorf("%s is not in .env", ref)
		}
		return env[name]
	})
}

func build(t *testing.T, pkg string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", exe, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return exe
}

func TestServices(t *testing.T) {
	f := compose(t)
	dir, env := initialised(t)
	var roles []string
	for name, s := range f.roles() {
		if len(s.Command) != 1 || s.Command[0] != name {
			t.Errorf("%s: runs %q, want the role it is named after", name, s.Command)
		}
		roles = append(roles, name)
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || strings.HasPrefix(interpolate(t, s.User, env), "0:") {
			t.Errorf("%s: want a read-only root, no capabilities and a user that is not root", name)
		}
	}
	slices.Sort(roles)
	if want := []string{"detect", "executor", "ingest", "store", "triage"}; !slices.Equal(roles, want) {
		t.Errorf("roles are %q, want %q", roles, want)
	}
	for name, s := range f.Services {
		if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "" || tag == "latest" {
			t.Errorf("%s: image %s has no version", name, s.Image)
		}
		if len(s.Healthcheck.Test) < 2 {
			t.Errorf("%s: has no health check", name)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: publishes %s, want loopback only", name, p)
			}
		}
		for other, d := range s.DependsOn {
			if _, ok := f.Services[other]; !ok || d.Condition != "service_healthy" {
				t.Errorf("%s: depends on %s being %q", name, other, d.Condition)
			}
		}
		for _, secret := range s.Secrets {
			if _, err := os.Stat(filepath.Join(dir, f.Secrets[secret].File)); err != nil || f.Secrets[secret].File == "" {
				t.Errorf("%s: secret %s: %v", name, secret, err)
			}
		}
		for _, e := range s.EnvFile {
			envFile(t, filepath.Join(dir, e))
		}
		for _, n := range s.Networks {
			if _, ok := f.Networks[n]; !ok {
				t.Errorf("%s: network %s is not declared", name, n)
			}
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(source, ".") {
				if _, ok := f.Volumes[source]; !ok {
					t.Errorf("%s: volume %s is not declared", name, source)
				}
			} else if _, err := os.Stat(source); err != nil {
				t.Errorf("%s: volume: %v", name, err)
			}
		}
		for key, value := range s.Environment {
			interpolate(t, value, env)
			if secret, ok := strings.CutPrefix(value, "/run/secrets/"); ok && !slices.Contains(s.Secrets, secret) {
				t.Errorf("%s: %s is %s, which is none of its secrets", name, key, value)
			}
		}
	}
}

// TestAddresses holds the addresses that services give for each other to what
// those services listen on.
func TestAddresses(t *testing.T) {
	f := compose(t)
	listens := map[string][]string{ // by their images' defaults and their configuration here
		"kafka": {"9092"}, "nats": {"4222"}, "clickhouse": {"8123", "9000"}, "prometheus": {"9090"}, "grafana": {"3000"},
	}
	for name, s := range f.roles() {
		_, port, err := net.SplitHostPort(s.Environment["STAKEOUT_HTTP__LISTEN"])
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		listens[name] = []string{port}
		if probe := s.Healthcheck.Test; !slices.Contains(probe, "http://127.0.0.1:"+port+"/readyz") {
			t.Errorf("%s: health check %q does not ask its own port %s", name, probe, port)
		}
	}
	check := func(where, addr string) {
		t.Helper()
		host, port, err := net.SplitHostPort(addr)
		if err != nil || !slices.Contains(listens[host], port) {
			t.Errorf("%s: nobody listens on %s (%v)", where, addr, err)
		}
	}
	for name, s := range f.roles() {
		for key, value := range s.Environment {
			switch {
			case strings.HasSuffix(key, "__URL"):
				_, addr, _ := strings.Cut(value, "://")
				check(name+": "+key, addr)
			case key == "STAKEOUT_KAFKA__BROKERS":
				check(name+": "+key, value)
			}
		}
	}
	grafana := f.Services["grafana"].Environment
	check("grafana", grafana["CLICKHOUSE_HOST"]+":"+grafana["CLICKHOUSE_PORT"])
	check("grafana", strings.TrimPrefix(grafana["PROMETHEUS_URL"], "http://"))
	if !strings.Contains(f.Services["kafka"].Environment["KAFKA_ADVERTISED_LISTENERS"], "INSIDE://kafka:9092,HOST://127.0.0.1:9092") {
		t.Error("kafka: advertises other addresses than its clients use")
	}

	var prom struct {
		Scrapes []struct {
			Job     string                       `yaml:"job_name"`
			Targets []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	data, err := os.ReadFile("prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &prom); err != nil {
		t.Fatal(err)
	}
	scraped := map[string]bool{}
	for _, s := range prom.Scrapes {
		for _, g := range s.Targets {
			for _, addr := range g.Targets {
				check("prometheus", addr)
				host, _, _ := strings.Cut(addr, ":")
				scraped[host] = true
				if s.Job != "stakeout-"+host {
					t.Errorf("prometheus: job %s scrapes %s; dashboards want jobs named stakeout-ROLE", s.Job, addr)
				}
			}
		}
	}
	for name := range f.roles() {
		if !scraped[name] {
			t.Errorf("prometheus: does not scrape %s", name)
		}
	}
}

// TestGrafanaEnvironment fails when a provisioning file wants a variable that
// the compose file does not give.
func TestGrafanaEnvironment(t *testing.T) {
	dir, _ := initialised(t)
	s := compose(t).Services["grafana"]
	env := maps.Clone(s.Environment)
	for _, e := range s.EnvFile {
		maps.Copy(env, envFile(t, filepath.Join(dir, e)))
	}
	wanted := regexp.MustCompile(`: \$([A-Z_]+)`)
	seen := 0
	err := filepath.WalkDir("../../dashboards/provisioning", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range wanted.FindAllStringSubmatch(string(data), -1) {
			seen++
			if env[m[1]] == "" {
				t.Errorf("%s wants $%s", path, m[1])
			}
		}
		return nil
	})
	if err != nil || seen == 0 {
		t.Errorf("%d variables seen, %v", seen, err)
	}
}

// imageCanRun: a binary that asks for a loader does not start in an image without one.
func imageCanRun(t *testing.T, stakeout string) {
	bin, err := elf.Open(stakeout)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := bin.Close(); err != nil {
			t.Error(err)
		}
	}()
	docker, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	dynamic := slices.ContainsFunc(bin.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	if dynamic && !strings.Contains(string(docker), "\nFROM gcr.io/distroless/base-") {
		t.Error("the binary needs glibc's loader, and the image does not have it")
	}
	if !strings.Contains(string(docker), "\nUSER 65532:65532\n") {
		t.Error("the image runs as root")
	}
}
