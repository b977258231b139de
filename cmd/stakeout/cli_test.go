package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var listed = regexp.MustCompile(`(?m)^  ([a-z]+) {2,}\S`)

func TestHelp(t *testing.T) {
	_, list, _ := strings.Cut(must(t, "--help"), "Usage:")
	names := listed.FindAllStringSubmatch(list, -1)
	if len(names) < 15 {
		t.Fatalf("stakeout --help lists %q only", names)
	}
	for _, m := range names {
		if m[1] != "help" && m[1] != "completion" { // these are cobra's own
			testHelp(t, m[1])
		}
	}
	for _, args := range [][]string{{"nosuch"}, {"up", "extra"}, {"up", "--nosuch"}, {"ship"}, {"approve"}, {"findings", "--format", "xml"}, {"shipp"}, {"audit", "nosuch"}, {"completion", "nosuch"}, {"agents", "reset"}, {"agents", "reset", "a"}, {"close", "x"}, {"help", "nosuch"}, {"help", "agents", "nosuch"}} {
		if r := stakeout(t, args...); r.code != 1 || r.out != "" || strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "stakeout: ") || !strings.HasSuffix(r.err, " --help'\n") {
			t.Errorf("stakeout %s: exit status %d, want 1 and one line that says where to look:\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
		}
	}
}

// TestUnknownNames asks for what cannot be: that nothing is shown would look like an answer.
func TestUnknownNames(t *testing.T) {
	for line, want := range map[string]string{
		"agents --state sleepy":        "learning, reset, active, stale, drifted",
		"findings --threat drift":      "privilege-drift, confused-deputy, ",
		"findings --severity urgent":   "informational, low, medium, high, critical",
		"actions --status done":        "waiting, held, commanded, verified, ",
		"dwell --kind revoke":          "terminate_session, quarantine_memory, revoke_token",
		"brake pull --why x --kind no": "suspend, require_approval, ",
		"rejects --field nosuch":       "event.name, ",
		"findings --limit -5":          "1 to 10000",
		"incidents --limit 20000":      "1 to 10000",
		"coverage --days 0":            "1 to 10000",
		"suppressions --limit many":    "1 to 10000",
		"actions --since -24h":         "a time such as 24h",
		"findings --since yesterday":   "a time such as 24h",
		"simulate --start tomorrow":    "a time such as 2026-01-05T00:00:00Z",
		"ship x --patience -1s":        "0s or more",
		"simulate --labels /nosuch/x":  "no such file",
	} {
		args := strings.Fields(line)
		if r := stakeout(t, args...); r.code != 1 || r.out != "" || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, want) || !strings.Contains(r.err, args[len(args)-1]) {
			t.Errorf("stakeout %s: exit status %d, want 1 and one line that names %s:\n%s%s", line, r.code, want, r.out, r.err)
		}
	}
	if out := must(t, "__complete", "actions", "--status", ""); !strings.Contains(out, "waiting\n") {
		t.Errorf("completion of --status offers %q", out)
	}
}

// testHelp expects an example of a command, or of each of those below it.
func testHelp(t *testing.T, path ...string) {
	t.Helper()
	out := must(t, append(path, "--help")...)
	_, examples, found := strings.Cut(out, "Examples:\n")
	_, list, _ := strings.Cut(out, "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	below := listed.FindAllStringSubmatch(list, -1)
	if !strings.Contains(examples, "stakeout "+strings.Join(path, " ")) && (found || len(below) == 0) {
		t.Errorf("stakeout %s --help shows no example:\n%s", strings.Join(path, " "), out)
	}
	for _, m := range below {
		testHelp(t, append(slices.Clone(path), m[1])...)
	}
}

func TestCompletion(t *testing.T) {
	for shell, check := range map[string][]string{"bash": {"bash", "-n"}, "zsh": {"zsh", "-n"}, "fish": {"fish", "-n"}} {
		script := must(t, "completion", shell)
		if len(script) < 1000 || !strings.Contains(script, "stakeout") {
			t.Errorf("completion for %s:\n%s", shell, script)
		}
		if path, err := exec.LookPath(check[0]); err == nil {
			cmd := exec.Command(path, check[1:]...)
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s does not read its completion: %v\n%s", shell, err, out)
			}
		}
	}
	if out := must(t, "__complete", "findings", "--format", ""); !strings.Contains(out, "table\njson\n") {
		t.Errorf("completion of --format offers %q", out)
	}
}

// TestBillOfMaterials has a CycloneDX document become rules that are taken.
func TestBillOfMaterials(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		check(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	doc := write("bom.json", `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"machine-learning-model","name":"atlas-3"}],"services":[{"name":"kb.example"}]}`)
	section := must(t, "config", "bom", doc)
	if want := "bom:\n    models:\n        - atlas-3\n    servers:\n        - address: kb.example\n"; section != want {
		t.Errorf("printed\n%s\nwant\n%s", section, want)
	}
	with := write("rules.yaml", "version: with\nbudget: 0.01\ndetectors:\n  supply_chain: {share: 0.2, prior: {surprises: 0.05, days: 45}}\n"+section)
	events := write("events.jsonl", `{"time":"2026-01-05T09:00:00Z","event.name":"model.call","gen_ai.agent.id":"a","gen_ai.request.model":"atlas-3"}
{"time":"2026-01-05T09:00:01Z","event.name":"model.call","gen_ai.agent.id":"a","gen_ai.request.model":"corvid-2"}
`)
	found := filepath.Join(dir, "found.jsonl")
	must(t, "backtest", "--set", "rules.detection="+with, "--findings", found, events)
	if text, err := os.ReadFile(found); err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), "corvid-2") {
		t.Errorf("found %s, %v; want the model that is not listed", text, err)
	}
	for file, want := range map[string]string{doc + ".none": "no such file", dir: "is a directory", events: "is no CycloneDX document", with: "is no CycloneDX document"} {
		if r := stakeout(t, "config", "bom", file); r.code != 1 || r.out != "" || !strings.Contains(r.err, file) || !strings.Contains(r.err, want) {
			t.Errorf("config bom %s: exit status %d, %s%s; want %s", file, r.code, r.out, r.err, want)
		}
	}
}

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stakeout.yaml")
	write := func(text string) {
		t.Helper()
		check(t, os.WriteFile(file, []byte(text), 0o600))
	}
	refused := func(r result, want ...string) {
		t.Helper()
		for _, w := range want {
			if r.code != 1 || r.out != "" || !strings.Contains(r.err, w) {
				t.Errorf("exit status %d, want 1 and %q named:\n%s%s", r.code, w, r.out, r.err)
			}
		}
	}

	// What it prints it reads, and prints again.
	write(must(t, "config", "--set", "topics.retention=36h", "--set", "kafka.brokers=127.0.0.1:1,127.0.0.1:2", "--set", "log.level=debug",
		"--set", "store.retention.events=7", "--set", "page.url=https://page.example/x"))
	again := must(t, "config", "--config", file)
	if text, err := os.ReadFile(file); err != nil || cmp.Diff(string(text), again) != "" {
		t.Errorf("config printed, read and printed again: %v\n%s", err, cmp.Diff(string(text), again))
	}
	for _, want := range []string{"retention: 36h0m0s\n", "- 127.0.0.1:2\n", "level: DEBUG\n", "events: 7\n"} {
		if !strings.Contains(again, want) {
			t.Errorf("config does not print %q:\n%s", want, again)
		}
	}

	// The later source wins.
	write("topics: {partitions: 3, events: from.file, rejects: from.file.too}\n")
	out := stakeoutWith(t, []string{"STAKEOUT_TOPICS__PARTITIONS=5", "STAKEOUT_TOPICS__EVENTS=from.environment"}, nil, "config", "-c", file, "--set", "topics.partitions=7").out
	for _, want := range []string{"partitions: 7\n", "events: from.environment\n", "rejects: from.file.too\n", "findings: stakeout.findings\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("config does not print %q:\n%s", want, out)
		}
	}
	if r := stakeoutWith(t, []string{"STAKEOUT_CONFIG=" + file}, nil, "config"); !strings.Contains(r.out, "partitions: 3\n") {
		t.Errorf("the file that STAKEOUT_CONFIG names was not read:\n%s%s", r.out, r.err)
	}

	// What there is not is refused by its name, wherever it stands.
	write("kafka: {brokerz: [a], tls: {deep: 1}}\nnope: 1\n")
	refused(stakeout(t, "config", "--config", file), "kafka.brokerz: ", "kafka.tls.deep: ", "nope: ")
	refused(stakeoutWith(t, []string{"STAKEOUT_KAFKA__BROKERZ=a"}, nil, "config"), "kafka.brokerz: ")
	refused(stakeout(t, "config", "--set", "store.nope=1", "-s", "nope=1"), "store.nope: ", "nope: ")
	refused(stakeout(t, "config", "--set", "kafka.brokers"), "key=value")
	refused(stakeout(t, "config", "--config", file+".not"), file+".not")
	write("kafka: [\n")
	refused(stakeout(t, "config", "--config", file), file)

	// All wrong values are told at once, before anything is started.
	wrong := []string{"--set", "topics.partitions=0", "--set", "topics.retention=1s", "--set", "log.format=xml", "--set", "http.listen=here", "--set", "kafka.brokers=there",
		"--set", "store.url=ftp://x", "--set", "triage.tick=0s", "--set", "executor.hands=0", "--set", "page.timeout=0s", "--set", "groups.detect="}
	dir := filepath.Join(t.TempDir(), "data")
	for _, args := range [][]string{{"config"}, {"up", "--set", "up.dir=" + dir}, {"findings"}, {"ingest"}} {
		refused(stakeout(t, append(args, wrong...)...), "topics.partitions: is 0", "topics.retention: is 1s", "log.format: is \"xml\"", "http.listen: is \"here\"", "kafka.brokers: has \"there\"",
			"store.url: ", "triage.tick: is 0s", "executor.hands: is 0", "page.timeout: is 0s", "groups.detect: is empty")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("up made its directory, although its configuration is wrong")
	}
	refused(stakeout(t, "config", "-s", "topics.partitions=many", "-s", "topics.retention=long", "-s", "log.level=loud"), "topics.partitions: ", "topics.retention: ", "log.level: ")
	for role, want := range map[string]string{"triage": "triage.signing_key: is empty", "executor": "executor.trust.triage: is empty"} {
		refused(stakeout(t, role), want)
	}

	// A secret is never printed, and its place never taken for it.
	secret := stakeout(t, "config", "-s", "store.password=hunter2", "-s", "store.url=http://me:hunter3@127.0.0.1:8123")
	if secret.code != 0 || strings.Contains(secret.out, "hunter") {
		t.Errorf("config prints a password:\n%s%s", secret.out, secret.err)
	}
	write(secret.out)
	refused(stakeout(t, "config", "--config", file), "store.password: ", "store.url: ")
	if r := stakeout(t, "config", "--config", file, "-s", "store.password=", "-s", "store.url=http://127.0.0.1:8123"); r.code != 0 {
		t.Errorf("secrets given again: %s", r.err)
	}
}

// TestWithoutEngine has to say in one line what a person can do.
func TestWithoutEngine(t *testing.T) {
	home := []string{"HOME=" + t.TempDir(), "XDG_DATA_HOME="}
	for _, env := range [][]string{home, append(home, chdbEnv+"=/nonexistent/libchdb.so")} {
		r := stakeoutWith(t, env, nil, "up", "--config", local(filepath.Join(t.TempDir(), "data"), nil).write(t))
		if r.code != 1 || r.out != "" || strings.Count(r.err, "\n") != 1 {
			t.Errorf("exit status %d, want 1 and one line:\n%s%s", r.code, r.out, r.err)
		}
		for _, want := range []string{"npm ci", chdbEnv, "store.url"} {
			if !strings.Contains(r.err, want) {
				t.Errorf("the message does not name %q:\n%s", want, r.err)
			}
		}
	}
}

// TestTwoPipelines starts a second pipeline over the directory of the first.
func TestTwoPipelines(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := up(t, dir, nil)
	r := stakeoutWith(t, []string{chdbEnv + "=" + engine(t)}, nil, "up", "--config", p.file)
	if r.code != 1 || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, dir) || !strings.Contains(r.err, "in use") || r.took > 3*time.Second {
		t.Errorf("a second up ends after %s with exit status %d:\n%s%s", r.took, r.code, r.out, r.err)
	}
	if r := stakeout(t, "agents", "--config", p.file); r.code != 0 || !strings.Contains(r.err, "none; 'stakeout ship FILE'") { // the first is still found
		t.Errorf("agents, of which there are none: exit status %d\n%s%s", r.code, r.out, r.err)
	}
	if r := stakeout(t, "findings", "--config", p.file, "--format", "json"); r.code != 0 || r.out != "[]\n" || r.err != "" {
		t.Errorf("findings for a program, of which there are none: exit status %d\n%s%s", r.code, r.out, r.err)
	}
	for _, args := range [][]string{{"approve", "abc"}, {"reject", "abc"}, {"actions", "undo", "abc"}, {"close", "abc", "--verdict", "benign"}, {"reopen", "abc"}, {"incident", "abc"},
		{"suppressions", "remove", "abc"}, {"agents", "reset", "abc", "--why", "new duties"}} {
		if r := stakeout(t, append(args, "--config", p.file)...); r.code != 1 || r.out != "" || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, "abc") ||
			!strings.Contains(r.err, "is not known; `stakeout ") {
			t.Errorf("stakeout %s: exit status %d, want 1 and one line that says what there is:\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
		}
	}
	p.stop()

	r = stakeout(t, "agents", "--config", p.file)
	if r.code != 1 || !strings.Contains(r.err, "stakeout up") || !strings.Contains(r.err, dir) {
		t.Errorf("a question without a pipeline: exit status %d\n%s", r.code, r.err)
	}
	if r = stakeout(t, "approve", "--config", p.file, "abc"); r.code != 1 || !strings.Contains(r.err, "operator.signing_key") {
		t.Errorf("a decision without a pipeline: exit status %d\n%s", r.code, r.err)
	}
}

// TestShipToNobody sends to brokers that are not there, and to one that does not answer.
func TestShipToNobody(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events.jsonl")
	check(t, os.WriteFile(file, []byte("{}\n"), 0o600))
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer silent.Close()
	for _, broker := range []string{freePort(t), silent.Addr().String()} {
		r := stakeout(t, "ship", "--set", "kafka.brokers="+broker, "--patience", "2s", file)
		if r.code != 1 || !strings.Contains(r.err, broker+" (kafka.brokers)") || !strings.HasPrefix(r.out, "0 lines") || r.took > 10*time.Second {
			t.Errorf("ship to nobody ends after %s with exit status %d:\n%s%s", r.took, r.code, r.out, r.err)
		}
		if strings.Contains(r.err, "works again") {
			t.Errorf("ship says that Kafka works:\n%s", r.err)
		}
	}
	if out := must(t, "ship", "--help"); !strings.Contains(out, "(default 30s)") {
		t.Errorf("ship does not say how long it waits:\n%s", out)
	}
	if r := stakeout(t, "ship", "--set", "kafka.brokers=127.0.0.1:1", file+".not"); r.code != 1 || !strings.Contains(r.err, file+".not") || r.took > 5*time.Second {
		t.Errorf("ship of a file that is not there: %s, exit status %d\n%s", r.took, r.code, r.err)
	}
}

// TestShipFromPipe sends what comes from a program that goes on: each line at
// once, and a signal ends it although nothing comes.
func TestShipFromPipe(t *testing.T) {
	p := up(t, filepath.Join(t.TempDir(), "data"), nil)
	cmd := exec.Command(binary, "ship", "--config", p.file, "-")
	cmd.Env = environment()
	var out strings.Builder
	cmd.Stdout = &out
	in, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	for i := range 3 {
		_, err := fmt.Fprintf(in, `{"time":"2026-01-05T09:00:0%dZ","event.name":"heartbeat","gen_ai.agent.id":"piped"}`+"\n", i)
		check(t, err)
		p.stored(i + 1)
	}
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		check(t, cmd.Process.Kill())
		t.Fatal("ship does not end while it waits for input")
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.HasPrefix(out.String(), "3 lines") {
		t.Errorf("ship ended with exit status %d: %s", code, out.String())
	}
	p.stop()
}
