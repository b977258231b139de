package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// keeping is a store that follows everything triage says, on a real server.
type keeping struct {
	*testing.T
	s      *Store
	js     jetstream.JetStream
	triage *command.Signer
	keys   command.Keyring
	stop   func()
}

func newKeeping(t *testing.T) *keeping {
	t.Helper()
	s, _ := migrated(t)
	k := &keeping{T: t, s: s, js: jetStream(t, natsServer(t, t.TempDir(), -1)), triage: signer(t)}
	k.keys = command.Keyring{Triage: []string{k.triage.Public()}}
	k.must(command.Provision(t.Context(), k.js, command.DefaultLayout()))
	k.run()
	t.Cleanup(func() { k.stop() })
	return k
}

// run follows until stop.
func (k *keeping) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 3)
	go func() { done <- k.s.RunCases(ctx, k.js, k.keys) }()
	for _, name := range []string{command.Actions, command.Acks} {
		go func() { done <- k.s.RunAudit(ctx, k.js, name) }()
	}
	k.stop = func() {
		cancel()
		for range 3 {
			if err := <-done; err != nil {
				k.Error(err)
			}
		}
		k.stop = func() {}
	}
}

func (k *keeping) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

func (k *keeping) publish(m *nats.Msg, err error) {
	k.Helper()
	k.must(err)
	_, err = k.js.PublishMsg(k.Context(), m)
	k.must(err)
}

func (k *keeping) eventually(f func() error) {
	k.Helper()
	end := time.Now().Add(15 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			k.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
}

// exec changes a table behind the store's back.
func (k *keeping) exec(statement string) {
	k.Helper()
	k.must(k.s.conn.Exec(k.Context(), statement))
}

func caseOf(incident, finding string, open bool, n uint64) command.Case {
	c := command.Case{Incident: command.Incident{ID: incident, Agent: "clerk", Session: "s", Open: open, Severity: 4, First: event.At(now), Last: event.At(now), Count: n,
		Threats: []string{"privilege-drift"}, Detectors: []string{"first_use"}}, Change: command.Grown, Time: event.At(now.Add(time.Duration(n) * time.Second))}
	if finding != "" {
		c.Disposition = &command.Disposition{Finding: finding, Detector: "first_use", Query: []string{"q"}, Think: []string{"t"},
			Report: command.Report{Verdict: "suspicious", Confidence: "high", Recommend: []string{"r"}}}
	} else {
		c.Change, c.Incident.Verdict, c.Incident.By = command.Closed, "benign", "op"
	}
	return c
}

func TestCases(t *testing.T) {
	k := newKeeping(t)
	var records []stream.Record
	for i := range 3 {
		f := detect.Finding{ID: fmt.Sprint("f", i), Detector: "first_use", Agent: "clerk", Time: event.At(now.Add(time.Duration(i) * time.Second)), Severity: detect.High, Reason: "r"}
		value, err := json.Marshal(f)
		k.must(err)
		records = append(records, stream.Record{Topic: "findings", Offset: int64(i), Time: now, Value: value})
	}
	storeAll(t, k.s.OpenFindings, records...)
	encode := func(c command.Case, id string) (*nats.Msg, error) { return command.EncodeCase(k.triage, c, id) }
	k.publish(encode(caseOf("i1", "f0", true, 1), "c1"))
	k.publish(encode(caseOf("i1", "f1", true, 2), "c2"))
	k.publish(encode(caseOf("i2", "elsewhere", true, 1), "c3"))
	m, err := command.EncodeCase(signer(t), caseOf("i3", "f2", true, 1), "forged")
	k.publish(m, err)
	k.eventually(func() error {
		c, err := k.s.Coverage(t.Context(), 10)
		if err != nil || len(c) != 1 || c[0].Findings != 3 || c[0].Disposed != 2 {
			return fmt.Errorf("coverage is %+v, %v", c, err)
		}
		return nil
	})
	k.publish(encode(caseOf("i1", "f2", true, 3), "c4"))
	k.publish(encode(caseOf("i1", "", false, 3), "c5"))
	k.eventually(func() error {
		all, err := k.s.Incidents(t.Context(), IncidentFilter{Agent: "clerk"})
		if err != nil || len(all) != 2 || all[0].ID != "i2" || all[1].Open || all[1].Count != 3 || all[1].Verdict != "benign" {
			return fmt.Errorf("incidents are %+v, %v", all, err)
		}
		return nil
	})
	if c, err := k.s.Coverage(t.Context(), 10); err != nil || c[0].Share != 1 {
		t.Errorf("coverage is %+v, %v", c, err)
	}
	if open, err := k.s.Incidents(t.Context(), IncidentFilter{Open: true}); err != nil || len(open) != 1 || open[0].ID != "i2" {
		t.Errorf("open incidents are %+v, %v", open, err)
	}
	file, ok, err := k.s.Incident(t.Context(), "i1")
	if err != nil || !ok || len(file.Findings) != 3 || file.Findings[2].Finding.ID != "f2" || file.Findings[0].Disposition.Report.Confidence != "high" {
		t.Errorf("incident is %+v, %t, %v", file, ok, err)
	}
	if _, ok, err := k.s.Incident(t.Context(), "i3"); ok || err != nil {
		t.Errorf("a forged incident is known: %t, %v", ok, err)
	}
}

// TestDrafts keeps what a model wrote beside the disposition, where it changes nothing.
func TestDrafts(t *testing.T) {
	k := newKeeping(t)
	value, err := json.Marshal(detect.Finding{ID: "f1", Detector: "first_use", Agent: "clerk", Time: event.At(now), Severity: detect.High, Reason: "r"})
	k.must(err)
	storeAll(t, k.s.OpenFindings, stream.Record{Topic: "findings", Time: now, Value: value})
	drafted := func(finding, text string) command.Case {
		c := caseOf("i1", finding, true, 9)
		c.Change, c.Disposition, c.Incident.Open, c.Incident.Revision = command.Drafted, nil, false, 99
		c.Draft = &command.Draft{Finding: finding, Model: "m", Text: text}
		return c
	}
	tell := func(id string, c command.Case) {
		t.Helper()
		m, err := command.EncodeCase(k.triage, c, id)
		k.publish(m, err)
	}
	m, err := command.EncodeCase(signer(t), drafted("f1", "forged"), "c0")
	k.publish(m, err)
	tell("c1", drafted("f1", "first"))
	tell("c2", drafted("f1", "second"))
	tell("c3", caseOf("i2", "f2", true, 1)) // behind the drafts
	k.eventually(func() error {
		if all, err := k.s.Incidents(t.Context(), IncidentFilter{}); err != nil || len(all) != 1 || all[0].ID != "i2" {
			return fmt.Errorf("incidents are %+v, %v", all, err)
		}
		return nil
	})
	if c, err := k.s.Coverage(t.Context(), 10); err != nil || len(c) != 1 || c[0].Disposed != 0 {
		t.Errorf("a draft counts as a first look: %+v, %v", c, err)
	}
	tell("c4", caseOf("i1", "f1", true, 1))
	k.eventually(func() error {
		file, ok, err := k.s.Incident(t.Context(), "i1")
		if err != nil || !ok || len(file.Findings) != 1 || !file.Incident.Open || file.Incident.Count != 1 {
			return fmt.Errorf("incident is %+v, %t, %v", file, ok, err)
		}
		if d := file.Findings[0]; d.Draft == nil || *d.Draft != *drafted("f1", "second").Draft || d.Disposition.Report.Confidence != "high" {
			return fmt.Errorf("finding is %+v, draft %+v", d, d.Draft)
		}
		return nil
	})
	if file, ok, err := k.s.Incident(t.Context(), "i2"); err != nil || !ok || len(file.Findings) != 1 || file.Findings[0].Draft != nil {
		t.Errorf("a finding without a draft is %+v, %t, %v", file, ok, err)
	}
}

// TestMergedIncident has a second incident become part of a first one, and what
// was told of it before arrive afterwards.
func TestMergedIncident(t *testing.T) {
	k := newKeeping(t)
	encode := func(c command.Case, id string) (*nats.Msg, error) { return command.EncodeCase(k.triage, c, id) }
	first, later := caseOf("i1", "f0", true, 1), caseOf("i2", "f1", true, 1)
	later.Incident.Agent = "other"
	first.Incident.Revision, later.Incident.Revision = 5, 7
	gone, stays := later, first
	gone.Change, gone.Disposition, gone.Incident.Open, gone.Incident.Into, gone.Incident.Revision = command.Merged, nil, false, "i1", 9
	stays.Change, stays.Disposition, stays.Incident.Revision = command.Merged, nil, 8
	stays.Incident.Agents, stays.Incident.Merged, stays.Incident.Count = []string{"clerk", "other"}, []string{"i2"}, 2
	stays.Incident.Acknowledged, stays.Incident.Turned, stays.Incident.Why = event.At(now), event.At(now), "look again"
	k.publish(encode(first, "c1"))
	k.publish(encode(gone, "c2"))
	k.publish(encode(stays, "c3"))
	k.publish(encode(later, "c4"))
	o := outcomeOf("a1", "other", command.Verified, now)
	o.Action.Incident = "i2"
	rows := []item[actionRow]{{row: actionRow{Outcome: o, ingested: now, raw: mustJSON(t, o)}}}
	k.must(k.s.actions.t.insert(t.Context(), k.s.conn, rows))
	k.must(k.s.history.t.insert(t.Context(), k.s.conn, rows))
	k.eventually(func() error {
		file, ok, err := k.s.Incident(t.Context(), "i1")
		if err != nil || !ok || len(file.Findings) != 2 || len(file.Actions) != 1 {
			return fmt.Errorf("incident is %+v, %t, %v", file, ok, err)
		}
		if len(file.Timeline) != 2 || !strings.Contains(file.Timeline[0].Text+file.Timeline[1].Text, "verified") || !strings.Contains(file.Timeline[0].Text+file.Timeline[1].Text, "reopened: look again") {
			return fmt.Errorf("timeline is %+v", file.Timeline)
		}
		return nil
	})
	all, err := k.s.Incidents(t.Context(), IncidentFilter{Agent: "other"})
	if err != nil || len(all) != 1 || all[0].ID != "i1" || all[0].Count != 2 {
		t.Errorf("incidents are %+v, %v", all, err)
	}
	if file, ok, err := k.s.Incident(t.Context(), "i2"); err != nil || !ok || file.Incident.Open || file.Incident.Into != "i1" {
		t.Errorf("the incident that went is %+v, %t, %v", file, ok, err)
	}
}

// TestSuppressions counts what fell under a suppression since it began.
func TestSuppressions(t *testing.T) {
	k := newKeeping(t)
	tell := func(id string, c command.Case) {
		t.Helper()
		m, err := command.EncodeCase(k.triage, c, id)
		k.publish(m, err)
	}
	under := func(finding string, at time.Duration) command.Case {
		c := caseOf("i1", finding, true, 1)
		c.Time, c.Disposition.Suppression = event.At(now.Add(at)), "s1"
		return c
	}
	began := func(s command.Suppression) command.Case {
		c := caseOf("i1", "", false, 1)
		c.Change, c.Suppression = command.Suppressed, &s
		return c
	}
	s := command.Suppression{ID: "s1", Incident: "i1", Agent: "clerk", Detector: "first_use", Owner: "op", Since: event.At(now), Until: event.At(now.Add(time.Hour))}
	tell("c1", under("before", -time.Minute))
	tell("c2", began(s))
	tell("c3", under("f1", time.Minute))
	tell("c4", under("f2", 2*time.Minute))
	other := s
	other.ID, other.Agent = "s2", "other"
	tell("c5", began(other))
	want := func(at time.Duration, all bool, want string) {
		t.Helper()
		k.eventually(func() error {
			found, err := k.s.Suppressions(t.Context(), now.Add(at), all, 0)
			var got []string
			for _, c := range found {
				got = append(got, fmt.Sprint(c.Agent, " ", c.Findings, " ", c.Removed))
			}
			if err != nil || strings.Join(got, ", ") != want {
				return fmt.Errorf("suppressions are %q, %v, want %s", got, err, want)
			}
			return nil
		})
	}
	want(0, false, "clerk 2 false, other 0 false")
	other.Removed, other.RemovedBy = true, "op"
	tell("c6", began(other))
	want(0, false, "clerk 2 false")
	want(2*time.Hour, false, "")
	want(2*time.Hour, true, "clerk 2 false, other 0 true")
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestAudit(t *testing.T) {
	k := newKeeping(t)
	say := func(from, to int) {
		for i := from; i < to; i++ {
			m, err := command.EncodeOutcome(k.triage, outcomeOf(fmt.Sprint("a", i), "clerk", command.Commanded, now))
			k.publish(m, err)
		}
	}
	audited := func(stream string, rows uint64) (a Audited) {
		k.Helper()
		k.eventually(func() (err error) {
			if a, err = k.s.Audit(t.Context(), stream, k.keys, nil); err == nil && a.Rows != rows {
				err = fmt.Errorf("%d rows, want %d", a.Rows, rows)
			}
			return err
		})
		return a
	}
	say(0, 20)
	noted := audited(command.Actions, 20)
	k.stop()
	say(20, 40)
	k.run() // another process goes on where the first one ended
	m, err := command.EncodeAck(signer(t), command.Ack{Action: "a1", Status: command.Verified})
	k.publish(m, err)
	audited(command.Acks, 1)
	if a := audited(command.Actions, 40); a.First != 1 || a.Last != 40 || a.Head == noted.Head {
		t.Errorf("audited %+v", a)
	}
	// Two processes that write the same rows write the same rows.
	k.exec("INSERT INTO audit SELECT * FROM audit WHERE seq = 7")
	audited(command.Actions, 40)
	if _, err := k.s.Audit(t.Context(), command.Actions, k.keys, map[uint64]string{20: noted.Head}); err != nil {
		t.Error(err)
	}
	if _, err := k.s.Audit(t.Context(), command.Actions, k.keys, map[uint64]string{20: "else"}); err == nil {
		t.Error("a noted row that differs is not named")
	}
	k.stop()

	// Every way of meddling is named, each on a fresh copy.
	k.exec("CREATE TABLE copy AS audit")
	k.exec("INSERT INTO copy SELECT * FROM audit")
	f := func(name, want string, meddle ...string) {
		t.Helper()
		k.exec("TRUNCATE TABLE audit")
		k.exec("INSERT INTO audit SELECT * FROM copy")
		for _, m := range meddle {
			k.exec(m)
		}
		a, err := k.s.Audit(t.Context(), command.Actions, k.keys, nil)
		if err == nil || !strings.Contains(strings.Join(a.Problems, "\n"), want) {
			t.Errorf("%s: %v, problems %q, want %q", name, err, a.Problems, want)
		}
	}
	const columns = "SELECT stream, seq, time, subject, signer, signature, payload, prev, hash FROM copy"
	f("altered", "row 5: was altered", "DELETE FROM audit WHERE seq = 5",
		"INSERT INTO audit SELECT stream, seq, time, subject, signer, signature, replace(payload, 'clerk', 'crook'), prev, hash FROM copy WHERE seq = 5 AND stream = 'ACTIONS'")
	f("altered, beside the true one", "row 5: stands twice, with different content",
		"INSERT INTO audit SELECT stream, seq, time, subject, signer, signature, replace(payload, 'clerk', 'crook'), prev, 'f' FROM copy WHERE seq = 5 AND stream = 'ACTIONS'")
	f("removed", "rows 8 to 10: were removed", "DELETE FROM audit WHERE seq BETWEEN 8 AND 10")
	f("beginning removed", "row 4: is the first, but follows another", "DELETE FROM audit WHERE seq < 4")
	f("put elsewhere", "row 12: was altered", "DELETE FROM audit WHERE seq IN (12, 13)",
		"INSERT INTO audit SELECT stream, 25 - seq, time, subject, signer, signature, payload, prev, hash FROM copy WHERE seq IN (12, 13) AND stream = 'ACTIONS'")

	// Who chains everything anew cannot sign what triage did not say.
	k.exec("TRUNCATE TABLE audit")
	k.exec("INSERT INTO audit " + columns + " WHERE seq < 5 AND stream = 'ACTIONS'")
	forged := AuditRow{Stream: command.Actions, Seq: 5, Time: now, Subject: command.OutcomeSubject("a9"), Signer: k.triage.Public(), Signature: "AAAA", Payload: "{}"}
	k.must(k.s.chain(t.Context(), command.Actions, []AuditRow{forged}))
	if a, err := k.s.Audit(t.Context(), command.Actions, k.keys, nil); err == nil || !strings.Contains(strings.Join(a.Problems, ""), "row 5: signature does not fit") {
		t.Errorf("forged: %v, problems %q", err, a.Problems)
	}
	if err := k.s.chain(t.Context(), command.Actions, []AuditRow{{Stream: command.Actions, Seq: 9}}); err == nil || !strings.Contains(err.Error(), "row 9 came before row 6") {
		t.Errorf("a row without its predecessor: %v", err)
	}
}
