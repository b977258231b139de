package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

func findingOf(id, agent string, severity detect.Severity, at time.Time) detect.Finding {
	return detect.Finding{ID: id, Detector: "drift", Threat: "privilege-drift", Severity: severity, Time: event.At(at), Agent: agent, Role: "clerk", Tenant: "acme",
		Session: "s1", User: "u1", Parent: "p1", Did: detect.Act{Tool: "t1", Privilege: "crm:export"}, Novel: []string{"privilege:4f1a"}, Nearest: []string{"crm:read"}, Normal: "n", Entities: []detect.Entity{{Kind: detect.ToolEntity, Name: "t1"}}, Credential: detect.Credential{ID: "c1", Issuer: "i1", Subject: "su1"}, Reason: "it's \\ new,\nand odd", Observed: "o", Baseline: "b",
		PValue: 1e-9, Level: 1e-6, Event: "e1", Evidence: []string{"e0", "e1"}, ASI: []string{"ASI03"}, ATLAS: []string{"AML.T0053"}, Rules: "v1"}
}

func jsonRecord(t testing.TB, topic string, offset int64, key string, v any) stream.Record {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return stream.Record{Topic: topic, Offset: offset, Time: now, Key: []byte(key), Value: b}
}

func TestFindings(t *testing.T) {
	s, _ := migrated(t)
	first := findingOf("f1", "a1", detect.High, now)
	for v, i := reflect.ValueOf(first), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("the test's finding lacks %s", v.Type().Field(i).Name)
		}
	}
	second := findingOf("f2", "a1", detect.Low, now.Add(-time.Hour))
	third := findingOf("f3", "a'2", detect.Critical, now.Add(-2*time.Hour))
	third.Threat = "memory-poisoning"
	records := []stream.Record{jsonRecord(t, "findings", 0, "a1", first), jsonRecord(t, "findings", 1, "a1", second), jsonRecord(t, "findings", 2, "a2", third)}
	storeAll(t, s.OpenFindings, records...)
	replayed := records[0]
	replayed.Offset, replayed.Time = 9, now.Add(26*time.Hour) // published again after a crash
	storeAll(t, s.OpenFindings, replayed, stream.Record{Topic: "findings", Offset: 10, Value: []byte("{}")}, stream.Record{Topic: "findings", Offset: 11, Value: []byte("nonsense")})
	if got := counts(t, s).Findings; got != 3 {
		t.Errorf("%d findings, want 3", got)
	}
	s.mustExec(t, "OPTIMIZE TABLE findings FINAL")
	var physical uint64
	if err := s.conn.QueryRow(t.Context(), "SELECT count() FROM findings").Scan(&physical); err != nil || physical != 3 {
		t.Errorf("%d rows after merging, %v; want 3", physical, err)
	}

	f := func(filter FindingFilter, want ...detect.Finding) {
		t.Helper()
		got, err := s.Findings(t.Context(), filter)
		if err != nil {
			t.Errorf("Findings(%+v): %v", filter, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Findings(%+v) (-want +got):\n%s", filter, diff)
		}
	}
	f(FindingFilter{}, first, second, third)
	f(FindingFilter{Agent: "a1"}, first, second)
	f(FindingFilter{Agent: "a'2"}, third)
	f(FindingFilter{Agent: "' OR 1 = 1 --"})
	f(FindingFilter{Agent: `\' OR 1 = 1 --`})
	f(FindingFilter{Threat: "memory-poisoning"}, third)
	f(FindingFilter{MinSeverity: detect.High}, first, third)
	f(FindingFilter{Since: now.Add(-90 * time.Minute)}, first, second)
	f(FindingFilter{Limit: 1}, first)

	for _, c := range findingsTable().columns {
		var filled bool
		if err := s.conn.QueryRow(t.Context(), "SELECT toString("+c.name+") NOT IN ('', '[]', '0') FROM findings_latest WHERE id = 'f1'").Scan(&filled); err != nil || !filled {
			t.Errorf("column %s is empty: %v", c.name, err)
		}
	}
}

// profileRecord makes a record of the changelog as the detect role writes it.
func profileRecord(t testing.TB, agent string, events int, offset int64, at time.Time) stream.Record {
	t.Helper()
	e := detect.New(detect.DefaultRules())
	for i := range events {
		e.Observe(&event.Event{Time: event.At(now.Add(time.Duration(i) * time.Second)), Name: event.ToolCall, Agent: agent, Role: "clerk", Tenant: "acme", Privilege: "crm:read", ID: fmt.Sprint(i)},
			int64(i), event.Source{Topic: "raw", Offset: int64(i)})
	}
	for key, value := range e.Changed() {
		return stream.Record{Topic: "profiles", Offset: offset, Time: at, Key: []byte(key), Value: append([]byte(nil), value...)}
	}
	t.Fatal("no profile changed")
	return stream.Record{}
}

func TestAgents(t *testing.T) {
	s, _ := migrated(t)
	older, newer := profileRecord(t, "a1", 3, 7, now), profileRecord(t, "a1", 5, 2, now.Add(time.Second)) // the topic was made anew
	storeAll(t, s.OpenProfiles, newer, older, profileRecord(t, "a2", 1, 8, now), profileRecord(t, "gone", 1, 9, now))
	storeAll(t, s.OpenProfiles, stream.Record{Topic: "profiles", Offset: 10, Time: now.Add(time.Second), Key: []byte("gone")},
		stream.Record{Topic: "profiles", Offset: 11, Time: now, Value: []byte("x")}, stream.Record{Topic: "profiles", Offset: 12, Time: now, Key: []byte("x"), Value: []byte("nonsense")})
	storeAll(t, s.OpenFindings, jsonRecord(t, "findings", 0, "a2", findingOf("f1", "a2", detect.High, now)), jsonRecord(t, "findings", 1, "a2", findingOf("f2", "a2", detect.Low, now.Add(time.Minute))))
	if got := counts(t, s).Profiles; got != 2 {
		t.Errorf("%d profiles, want 2", got)
	}
	want1, err := detect.Summarize("a1", newer.Value)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Agents(t.Context(), AgentFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Agent != "a2" || got[0].Findings != 2 || got[0].Worst != detect.High || got[0].Latest != event.At(now.Add(time.Minute)) {
		t.Errorf("Agents() = %+v, want a2 with its two findings first", got)
	}
	if diff := cmp.Diff(Agent{Summary: want1}, got[len(got)-1]); diff != "" {
		t.Errorf("a1 (-want +got):\n%s", diff)
	}
	f := func(filter AgentFilter, want int) {
		t.Helper()
		if got, err := s.Agents(t.Context(), filter); err != nil || len(got) != want {
			t.Errorf("Agents(%+v) = %d agents, %v; want %d", filter, len(got), err, want)
		}
	}
	f(AgentFilter{Agent: "a1"}, 1)
	f(AgentFilter{Agent: "gone"}, 0)
	f(AgentFilter{Role: "clerk", Tenant: "acme", State: detect.Learning}, 2)
	f(AgentFilter{Role: "other"}, 0)
	f(AgentFilter{Limit: 1}, 1)
}

func TestRejects(t *testing.T) {
	s, _ := migrated(t)
	line := Reject{Topic: "raw", Partition: 1, Offset: 5, Line: 2, Time: now, Field: "time", Position: 12, Reason: "is missing", Size: 99, SHA256: "ab"}
	whole := Reject{Topic: "raw", Partition: 1, Offset: -1, Time: now.Add(-time.Hour), Field: "line", Position: -1, Reason: "is too large", Size: 1 << 20, Lines: 3, Stack: "main.go:1"}
	records := []stream.Record{jsonRecord(t, "rejects", 0, "", line), jsonRecord(t, "rejects", 1, "", whole), jsonRecord(t, "rejects", 2, "", whole)}
	storeAll(t, s.OpenRejects, records...)
	storeAll(t, s.OpenRejects, records...)
	if got := counts(t, s).Rejects; got != 3 {
		t.Errorf("%d rejects, want 3: those without an offset are told apart", got)
	}
	got, err := s.Rejects(t.Context(), RejectFilter{Topic: "raw"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Reject{line, whole, whole}, got); diff != "" {
		t.Errorf("Rejects() (-want +got):\n%s", diff)
	}
	if got, err := s.Rejects(t.Context(), RejectFilter{Field: "time", Since: now.Add(-time.Minute), Limit: 5}); err != nil || len(got) != 1 {
		t.Errorf("Rejects of a field = %v, %v; want one", got, err)
	}
}

func TestQueriesFail(t *testing.T) {
	s := open(t, testConfig(engine(t))) // no tables
	_, err1 := s.Findings(t.Context(), FindingFilter{})
	_, err2 := s.Actions(t.Context(), ActionFilter{})
	_, err3 := s.Agents(t.Context(), AgentFilter{})
	_, err4 := s.Rejects(t.Context(), RejectFilter{})
	_, err5 := s.Counts(t.Context())
	_, err6 := s.History(t.Context(), "a")
	for i, err := range []error{err1, err2, err3, err4, err5, err6} {
		if err == nil {
			t.Errorf("query %d without tables: no error", i+1)
		}
	}
}
