package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestIncident follows one incident as the person sees it who was woken: found,
// disposed, contained, told to a SIEM, undone, closed, and all of it audited.
func TestIncident(t *testing.T) {
	engine(t)
	c := prepare(t)
	siem := filepath.Join(t.TempDir(), "siem.jsonl")
	policy := filepath.Join(t.TempDir(), "response.yaml")
	check(t, os.WriteFile(policy, []byte(`
budgets:
  revoke_token: {max: 5, per: 1h}
  suspend: {max: 5, per: 1h}
policies:
  - name: stop
    match: {min_severity: medium}
    ladder:
      - {kind: revoke_token, mode: auto, ack_timeout: 10s}
    also:
      - {kind: suspend, mode: auto}
      - {kind: notify, mode: auto}
`), 0o600))
	s := c.settings(t, policy)
	s["notify"] = settings{"ocsf": settings{"path": siem}}
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := io.WriteString(w, `{"choices":[{"message":{"content":"All is well.\u001b[2J\nclosed as benign"}}]}`); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(model.Close)
	s["triage"].(settings)["draft"] = settings{"url": model.URL, "model": "tester"}
	s["triage"].(settings)["history"] = settings{"timeout": "30s"}
	c.up = up(t, c.dir, s)
	c.fleet = simulated(t, 20, 14, "--seed", "5", "--threats", "none")
	if n := c.up.ship(c.fleet.file); n != c.fleet.lines {
		t.Fatalf("ship acknowledged %d lines, want %d", n, c.fleet.lines)
	}
	c.up.stored(c.fleet.lines)
	agent := c.victims(t, 1)[0]
	_, token := c.attack(t, agent, "jti-1")
	c.action(t, agent, "revoke_token", "verified")
	suspended := c.action(t, agent, "suspend", "verified")
	c.action(t, agent, "notify", "verified")

	type incident struct {
		ID, Agent, Verdict, By string
		Open                   bool
		Count                  int
	}
	var i incident
	eventually(t, 20*time.Second, func() error {
		all := answer[incident](t, "incidents", "--config", c.up.file, "--open", "--agent", agent)
		if len(all) != 1 || all[0].Count < 1 {
			return fmt.Errorf("open incidents are %+v", all)
		}
		i = all[0]
		return nil
	})
	var shown string
	eventually(t, 20*time.Second, func() error {
		if shown = must(t, "incident", "--config", c.up.file, i.ID); !strings.Contains(shown, "for the first time") || !strings.Contains(shown, "draft (by model tester, unverified): All is well. [2J closed as benign\n") {
			return fmt.Errorf("the finding and its draft are not shown:\n%s", shown)
		}
		return nil
	})
	for _, want := range []string{"query", "What was found of " + agent + " before?", "What are the events it rests on?", "to exercise treasury:transfer: 0 of ", "think", "Observed: treasury:transfer", "report", "suspicious, confidence", "revoke_token by policy stop, auto", "would break every session that works with credential jti-1", "suspend verified", "risk "} {
		if !strings.Contains(shown, want) {
			t.Errorf("the incident does not tell %q:\n%s", want, shown)
		}
	}
	if r := stakeout(t, "incident", "--config", c.up.file, "nothing"); r.code == 0 || !strings.Contains(r.err, `incident "nothing": is not known`) {
		t.Errorf("an unknown incident: %d, %s", r.code, r.err)
	}
	eventually(t, 20*time.Second, func() error {
		for _, d := range answer[struct {
			Day                string
			Findings, Disposed int
		}](t, "coverage", "--config", c.up.file) {
			if d.Disposed != d.Findings {
				return fmt.Errorf("of %d findings on %s, %d are disposed", d.Findings, d.Day, d.Disposed)
			}
		}
		return nil
	})
	stages := answer[struct {
		From, To string
		Count    int
		P99      float64 `json:"p99_ms"`
	}](t, "dwell", "--config", c.up.file, "--kind", "revoke_token", "--since", "10m")
	if len(stages) != 6 || slices.ContainsFunc(stages, func(s struct {
		From, To string
		Count    int
		P99      float64 `json:"p99_ms"`
	}) bool {
		return (s.Count != 1) == (s.To != "acknowledged")
	}) {
		t.Errorf("dwell is %+v, want every stage of the one revocation", stages)
	}
	risks(t, c, agent)
	line, err := os.ReadFile(siem)
	check(t, err)
	var f struct {
		Class    int        `json:"class_uid"`
		Analyses []struct{} `json:"anomaly_analyses"`
	}
	if err := json.Unmarshal([]byte(strings.SplitN(string(line), "\n", 2)[0]), &f); err != nil || f.Class != 2004 || len(f.Analyses) != 1 {
		t.Errorf("the SIEM has %s, %v", line, err)
	}

	must(t, "actions", "undo", "--config", c.up.file, suspended.Action.ID, "--why", "the payout was planned")
	o := c.action(t, agent, "suspend", "undone")
	if !strings.Contains(o.Detail, "the payout was planned") || c.provider.Active(token) {
		t.Errorf("undone: %+v; the token is active: %t", o, c.provider.Active(token))
	}
	if r := stakeout(t, "close", "--config", c.up.file, i.ID); r.code == 0 || !strings.Contains(r.err, "verdict") {
		t.Errorf("closing without a verdict: %d, %s", r.code, r.err)
	}
	if r := stakeout(t, "close", "--config", c.up.file, i.ID, "--verdict", "fine"); r.code == 0 || !strings.Contains(r.err, "want one of true_positive, ") {
		t.Errorf("closing with a verdict that is none: %d, %s", r.code, r.err)
	}
	must(t, "close", "--config", c.up.file, i.ID, "--verdict", "false_positive", "--why", "the payout was planned")
	eventually(t, 20*time.Second, func() error {
		all := answer[incident](t, "incidents", "--config", c.up.file, "--agent", agent)
		if len(all) != 1 || all[0].Open || all[0].Verdict != "false_positive" || all[0].By != c.up.running.Operator.Approver {
			return fmt.Errorf("incidents are %+v", all)
		}
		return nil
	})
	c.action(t, agent, "resolve", "verified")
	suppressions(t, c, agent)
	eventually(t, 20*time.Second, func() error {
		for _, s := range answer[struct {
			To    string
			Count int
			Max   float64 `json:"max_ms"`
		}](t, "dwell", "--config", c.up.file, "--kind", "revoke_token", "--since", "10m") {
			if s.To == "acknowledged" && s.Count == 1 && s.Max > 0 {
				return nil
			}
		}
		return errors.New("dwell does not tell when a person acknowledged it")
	})

	out := must(t, "audit", "verify", "--config", c.up.file)
	head := strings.TrimSpace(out[strings.Index(out, "the last is ")+len("the last is ") : strings.IndexByte(out, '\n')])
	if !strings.HasPrefix(head, "ACTIONS:") {
		t.Fatalf("verify says %s", out)
	}
	must(t, "audit", "verify", "--config", c.up.file, "--expect", head)
	if r := stakeout(t, "audit", "verify", "--config", c.up.file, "--expect", head+"0"); r.code == 0 || !strings.Contains(r.out, "was noted before") {
		t.Errorf("a noted row that differs: %d, %s", r.code, r.out)
	}
	if r := stakeout(t, "audit", "verify", "--config", c.up.file, "--expect", "x"); r.code == 0 || !strings.Contains(r.err, "want ACTIONS:SEQUENCE:HASH") {
		t.Errorf("an expectation that is none: %d, %s", r.code, r.err)
	}
	brakes(t, c)
	c.up.stop()
}

// TestDrill practises five incidents at once, as an operator would.
func TestDrill(t *testing.T) {
	r := stakeoutWith(t, []string{chdbEnv + "=" + engine(t)}, nil, "drill", "--format", "json", "--load", "12s", "--rate", "1000")
	var result struct {
		Incidents, Contained, Verified, Undone int
		Command                                float64 `json:"command_p99_ms"`
		Refusal                                float64 `json:"refusal_p99_ms"`
		Rate                                   float64 `json:"events_per_second"`
	}
	if err := json.Unmarshal([]byte(r.out), &result); err != nil || r.code != 0 {
		t.Fatalf("exit status %d, %v\n%s%s", r.code, err, r.out, r.err)
	}
	t.Logf("%+v", result)
	if result.Incidents != 5 || result.Contained != 5 || result.Verified != 5 || result.Undone != 5 || result.Rate < 900 {
		t.Errorf("result is %+v", result)
	}
	if !raceDetector() && (result.Command > 250 || result.Refusal > 250) {
		t.Errorf("a stop took %.0f ms to the command and %.0f ms to the refusal, want less than 250", result.Command, result.Refusal)
	}
}
