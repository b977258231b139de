package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	parts "github.com/stakeout-project/stakeout/deploy/local"
)

// What the policy of TestFloodOfFindings lets be done in an hour, to its whole fleet.
const (
	suspendBudget = 5
	pageBudget    = 10
)

// TestFloodOfFindings runs triage, twice, under a policy that would suspend every
// agent there is: when a whole fleet does what it never did, and then when more is
// found than anybody can read, with one of the two killed in the middle of it.
func TestFloodOfFindings(t *testing.T) {
	s := servers(t)
	f := &flooded{servers: s, policy: everybody(t), pipeline: &pipeline{file: s.file, kafka: s.kafka.Addr()}}
	f.running = s.addresses()
	f.running.Operator.NATS.URL, f.running.Operator.NATS.SeedFile, f.running.Operator.NATS.InboxPrefix = s.nats.URL(), s.nats.SeedFile(parts.OperatorRole), s.nats.InboxPrefix(parts.OperatorRole)
	for _, role := range []string{"ingest", "detect", "store", "executor"} {
		f.processes = append(f.processes, begin(t, append(s.environment(role), "STAKEOUT_RULES__DETECTION="+watchful(t)), role, "--config", s.file))
	}
	f.process = f.processes[0]
	f.one, f.other = f.triage(t), f.triage(t)
	for _, p := range append(f.processes, f.one.process, f.other.process) {
		p.ready()
	}

	f.judge(t)
	t.Run("an approver of something else", f.testNotItsApprover)
	t.Run("a policy that suspends everybody", f.testEverybody)
	t.Run("a flood of findings and a crash", f.testFlood)
	for _, p := range append(f.processes, f.other.process) {
		p.stop()
	}
}

// flooded is a pipeline of processes, two of them triage.
type flooded struct {
	servers *cluster
	*pipeline
	policy     string
	processes  []*process
	one, other *pipeline
	shipped    int // of the fortnight
}

// triage begins a process that asks what is stored about every finding it can.
func (f *flooded) triage(t *testing.T) *pipeline {
	t.Helper()
	p := begin(t, append(f.servers.environment("triage"), "STAKEOUT_RULES__RESPONSE="+f.policy, "STAKEOUT_TRIAGE__HISTORY__ENABLED=true"), "triage", "--config", f.file)
	return &pipeline{process: p, health: p.url()}
}

// everybody is a policy that asks nothing of a finding before it suspends its agent,
// but that the treasury's agents are left to a person who is not our operator.
func everybody(t *testing.T) (file string) {
	t.Helper()
	pair, err := nkeys.CreateAccount()
	check(t, err)
	treasurer, err := pair.PublicKey()
	check(t, err)
	file = filepath.Join(t.TempDir(), "response.yaml")
	check(t, os.WriteFile(file, fmt.Appendf(nil, `
budgets:
  suspend: {max: %d, per: 1h}
  revoke_token: {max: 5, per: 1h}
  page: {max: %d, per: 1h}
brake: {for: 1h}
policies:
  - name: ask the treasurer
    match: {agents: ["treasury-*"]}
    ladder:
      - {kind: revoke_token, mode: approve, approvers: [%s], expires: 10m}
  - name: everybody
    ladder:
      - {kind: suspend, mode: auto}
      - {kind: page, mode: auto}
`, suspendBudget, pageBudget, treasurer), 0o600))
	return file
}

const clerks = 40

func clerk(i int) string { return fmt.Sprintf("clerk-%02d", i) }

// judge has detection learn a fortnight of everybody, up to today.
func (f *flooded) judge(t *testing.T) {
	t.Helper()
	var b strings.Builder
	n, end := 0, time.Now().Add(-2*time.Hour)
	for i := range clerks + 1 {
		agent := clerk(i)
		if i == clerks {
			agent = "treasury-1"
		}
		for at := end.Add(-14 * 24 * time.Hour); at.Before(end); at = at.Add(2 * time.Hour) {
			b.WriteString(f.line(agent, "crm:read", "read", at, n))
			n++
			if n%5 == 0 {
				b.WriteString(f.line(agent, "mail:send", "send", at, n))
				n++
			}
		}
	}
	f.tell(t, b.String())
	f.health, f.shipped = f.processes[1].url(), n
	f.judged(n)
}

func (f *flooded) line(agent, privilege, effect string, at time.Time, n int) string {
	return fmt.Sprintf(`{"time":%q,"event.name":"tool.call","event.id":"%d","gen_ai.agent.id":%q,"gen_ai.conversation.id":"%s of %s","stakeout.credential.id":"jti-%[3]s","gen_ai.tool.name":"crm","stakeout.privilege":%[6]q,"stakeout.effect":%q}`+"\n",
		at.UTC().Format(time.RFC3339Nano), n, agent, agent, at.UTC().Format(time.DateOnly), privilege, effect)
}

func (f *flooded) tell(t *testing.T, lines string) {
	t.Helper()
	if r := stakeoutWith(t, nil, []byte(lines), "ship", "--config", f.file, "-"); r.code != 0 {
		t.Fatalf("ship: exit status %d\n%s", r.code, r.err)
	}
}

// testNotItsApprover has an operator who is trusted, but not with this, approve.
func (f *flooded) testNotItsApprover(t *testing.T) {
	f.tell(t, f.line("treasury-1", "treasury:transfer", "money", time.Now(), 1e6))
	var waiting outcome
	find := func(status string) {
		t.Helper()
		eventually(t, 30*time.Second, func() error {
			all := answer[outcome](t, "actions", "--config", f.file, "--agent", "treasury-1")
			i := slices.IndexFunc(all, func(o outcome) bool { return o.Action.Kind == "revoke_token" && o.Status == status })
			if i < 0 {
				return fmt.Errorf("no revocation is %s: %+v", status, all)
			}
			waiting = all[i]
			return nil
		})
	}
	find("waiting")
	if r := stakeoutWith(t, f.servers.environment("operator"), nil, "approve", "--config", f.file, waiting.Action.ID, "--why", "in a hurry"); r.code != 1 || !strings.Contains(r.err, "no approver of this action") {
		t.Fatalf("approve: exit status %d; want 1, and why\n%s", r.code, r.err)
	}
	operator := f.servers.nats.SigningKey(parts.OperatorRole)
	eventually(t, 30*time.Second, func() error {
		if n := f.both("stakeout_triage_approvals_total", `result="not entitled"`); n < 1 {
			return errors.New("the decision is not refused")
		}
		if n := strings.Count(f.one.log()+f.other.log(), "action="+waiting.Action.ID+" decision=approve operator="+operator+` result="not entitled"`); n < 1 {
			return errors.New("the log does not tell by whom and what was refused")
		}
		audited, err := f.count(fmt.Sprintf(`SELECT count() FROM stakeout.audit FINAL WHERE stream = 'ACKS' AND subject = 'stakeout.approval.%s'
			AND signer = '%s' AND position(payload, 'in a hurry') > 0`, waiting.Action.ID, operator))
		if err == nil && audited != 1 {
			err = fmt.Errorf("%d decisions are audited, want one", audited)
		}
		return err
	})
	find("waiting")
	if n := len(f.commanded(t, "stakeout.action.revoke_token.>")); n != 0 {
		t.Errorf("%d revocations are commanded on the word of who may not", n)
	}
}

// testEverybody has the whole fleet do what it never did.
func (f *flooded) testEverybody(t *testing.T) {
	var b strings.Builder
	for i := range clerks {
		b.WriteString(f.line(clerk(i), "crm:export", "share", time.Now(), 2e6+i))
	}
	f.tell(t, b.String())
	eventually(t, time.Minute, func() error {
		status := map[string]string{} // of the suspension, by agent
		paged := map[string]bool{}
		for _, o := range answer[outcome](t, "actions", "--config", f.file, "--limit", "10000") {
			switch agent := o.Action.Target.Agent; {
			case o.Action.Kind == "suspend":
				status[agent] = o.Status
				if o.Status == "held" && !strings.Contains(o.Detail, "the brake is on until") {
					return fmt.Errorf("the suspension of %s is held because %q", agent, o.Detail)
				}
			case o.Action.Kind == "page" && (o.Status == "verified" || o.Status == "held" && strings.Contains(o.Detail, "folded into the next page")):
				paged[agent] = true
			}
		}
		count := map[string]int{}
		for i := range clerks {
			count[status[clerk(i)]]++
			if status[clerk(i)] == "held" && !paged[clerk(i)] {
				return fmt.Errorf("that %s is not suspended became no page", clerk(i))
			}
		}
		if count["verified"] != suspendBudget || count["held"] != clerks-suspendBudget {
			return fmt.Errorf("suspensions are %v, want %d verified of %d", count, suspendBudget, clerks)
		}
		return nil
	})
	if n := f.contained(t); n != suspendBudget {
		t.Errorf("%d agents are contained, want %d of %d", n, suspendBudget, clerks)
	}
	if n := f.both("stakeout_triage_brakes_total", `change="tripped"`); n != 1 {
		t.Errorf("the brake was tripped %d times, want once", n)
	}
	if pages := f.commanded(t, "stakeout.action.page.>"); len(pages) != pageBudget {
		t.Errorf("%d pages are commanded, want the %d of the budget", len(pages), pageBudget)
	}
}

// testFlood puts more findings into their topic than anybody can read, and kills one of
// those who handle them. How many tells STAKEOUT_FLOOD.
func (f *flooded) testFlood(t *testing.T) {
	n := 4000
	if text := os.Getenv("STAKEOUT_FLOOD"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		check(t, err)
	} else if raceDetector() {
		n = 1000
	}
	f.judged(f.shipped + 1 + clerks) // what the attacks have in common, too
	before := f.number("SELECT count() FROM stakeout.findings FINAL")
	began := time.Now()
	f.put(t, 0, n/2)
	handled := func(p *pipeline) int { return p.metric("stakeout_triage_findings_total", `result="new"`) }
	here := handled(f.one)
	eventually(t, time.Minute, func() error {
		if got := handled(f.one) - here; got < n/16 {
			return fmt.Errorf("one of two has handled %d findings of the flood", got)
		}
		return nil
	})
	f.put(t, n/2, n)
	here = handled(f.one)
	f.one.kill()
	if left := n + before - here - handled(f.other); left < n/8 {
		t.Errorf("%d findings of %d were left when one of two was killed: not in the middle", left, n)
	}
	eventually(t, 2*time.Minute, func() error {
		got, err := f.count("SELECT uniqExact(finding) FROM stakeout.dispositions")
		if err == nil && got < n+before {
			err = fmt.Errorf("%d findings are disposed of, want %d", got, n+before)
		}
		return err
	})
	took := time.Since(began)
	f.wantCoverage(t, n+before)
	f.wantOnce(t, n+before)

	if got := f.contained(t); got != suspendBudget {
		t.Errorf("%d agents are contained, want the %d of before", got, suspendBudget)
	}
	if pages := f.commanded(t, "stakeout.action.page.>"); len(pages) != pageBudget {
		t.Errorf("%d pages are commanded, want the %d of before", len(pages), pageBudget)
	}
	// Nothing of it is kept from a person: each became a page, which waits to be told as one.
	for kind, what := range map[string]string{"suspend": "the brake is on until", "page": "folded into the next page"} {
		query := fmt.Sprintf("SELECT uniqExact(agent) FROM stakeout.actions FINAL WHERE kind = '%s' AND status = 'held' AND position(detail, '%s') > 0 AND startsWith(agent, 'stray-')", kind, what)
		eventually(t, 30*time.Second, func() error {
			got, err := f.count(query)
			if err == nil && got != strays {
				err = fmt.Errorf("of %d agents the %s is held back, want %d", got, kind, strays)
			}
			return err
		})
	}
	mib := f.other.metric("process_resident_memory_bytes") >> 20
	if mib > 250 && !raceDetector() {
		t.Errorf("triage holds %d MiB after %d findings", mib, n)
	}
	t.Logf("%d findings in %s, with one of two processes killed: all disposed of once, %d pages, %d suspensions, %d MiB", n, took.Round(time.Millisecond), pageBudget, suspendBudget, mib)
}

// strays is how many agents the flood is about.
const strays = 200
