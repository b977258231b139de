package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage/command"
)

// pastRecords are events of an agent, its peers and others.
func pastRecords(t testing.TB) (all []stream.Record) {
	t.Helper()
	did := func(agent, id string, ago time.Duration, tool, privilege, destination string) {
		ev := event.Event{Time: event.At(now.Add(-ago)), Name: event.ToolCall, Agent: agent, ID: id, Session: "s", Role: "clerk", Tenant: "acme",
			Tool: tool, Privilege: privilege, Effect: event.Send, Destination: destination}
		if id == "e2" {
			ev.ErrorType = "denied"
		}
		if agent == "other's" {
			ev.Tenant = "other"
		}
		all = append(all, stream.Record{Topic: "events", Offset: int64(len(all)), Time: now, Key: []byte(agent), Value: ev.AppendJSON(nil)})
	}
	did("a'1", "e0", 90*24*time.Hour, "crm", "crm:read", "")
	did("a'1", "e1", 5*time.Minute, "crm", "crm:read", "")
	did("a'1", "e2", 3*time.Minute, "mail", "mail:send", "mail.example")
	did("a'1", "e,3\t\"", 0, "crm_export", "crm:export", "evil.example")
	did("a'1", "e4", -time.Minute, "later", "crm:export", "evil.example")
	did("p1", "e1", 2*24*time.Hour, "crm_export", "crm:export", "evil.example")
	did("p1", "e2", 24*time.Hour, "crm_export", "crm:export", "mail.example")
	did("p2", "e1", 24*time.Hour, "crm_export", "crm:purge", "")
	did("p3", "e1", 30*24*time.Hour, "crm_export", "crm:export", "evil.example") // too long ago
	did("other's", "e1", 24*time.Hour, "crm_export", "crm:export", "")           // no peer
	return append(all, all[2])                                                   // what is sent twice counts once
}

func TestPast(t *testing.T) {
	s, _ := migrated(t)
	storeAll(t, s.OpenEvents, pastRecords(t)...)
	var found []stream.Record
	for i, ago := range []time.Duration{0, time.Hour, 48 * time.Hour, -time.Hour} {
		f := findingOf(fmt.Sprint("f", i), "a'1", detect.High, now.Add(-ago))
		f.Detector = []string{"first_use", "memory", "first_use", "first_use"}[i]
		found = append(found, jsonRecord(t, "findings", int64(i), f.Agent, f))
	}
	storeAll(t, s.OpenFindings, found...)
	for i, verdict := range []string{"false_positive", "", "benign"} {
		c := command.Incident{ID: fmt.Sprint("i", i), Agent: "a'1", First: event.At(now.Add(-time.Hour)), Verdict: command.Verdict(verdict)}
		if i == 2 {
			c.Agent, c.Agents = "b", []string{"b", "a'1"}
		}
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.conn.Exec(t.Context(), `INSERT INTO incidents (id, agent, agents, first, verdict, version, raw) VALUES (?, ?, ?, fromUnixTimestamp64Nano(?), ?, 1, ?)`,
			c.ID, c.Agent, c.Agents, int64(c.First), string(c.Verdict), string(raw)); err != nil {
			t.Fatal(err)
		}
	}
	q := command.Question{Finding: "f0", Agent: "a'1", Role: "clerk", Tenant: "acme", Tool: "crm_export", Privilege: "crm:export", Destination: "evil.example",
		Evidence: []string{"e2", "e,3\t\"", "never stored"}, Time: event.At(now), Window: 7 * 24 * time.Hour}
	want := command.Past{
		Findings: []command.Tally{{Name: "first_use", Count: 1}, {Name: "memory", Count: 1}},
		Verdicts: []command.Tally{{Name: "benign", Count: 1}, {Name: "false_positive", Count: 1}},
		Peers:    2, Alike: 1, Likened: 2,
		Rests: []command.Stored{
			{ID: "e,3\t\"", Name: "tool.call", Tool: "crm_export", Effect: "send", Destination: "evil.example", Time: q.Time},
			{ID: "e2", Name: "tool.call", Tool: "mail", Effect: "send", Destination: "mail.example", Time: event.At(now.Add(-3 * time.Minute))},
		},
		Around: command.Around{Events: 2, Failed: 1, Tools: []string{"crm", "mail"}},
		Met:    event.At(now.Add(-48 * time.Hour)), MetAgents: 1, MetContact: 1,
	}
	for range 2 { // the same rows, the same answer
		got, err := s.Past(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("past (-want +got):\n%s", diff)
		}
	}
	got, err := s.Past(t.Context(), command.Question{Agent: "nobody", Destination: "never.example", Time: q.Time, Window: q.Window})
	if diff := cmp.Diff(command.Past{Around: command.Around{Tools: []string{}}}, got); err != nil || diff != "" {
		t.Errorf("past of nobody: %v (-want +got):\n%s", err, diff)
	}
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if got, err := s.Past(late, q); !errors.Is(err, context.DeadlineExceeded) || cmp.Diff(command.Past{}, got) != "" {
		t.Errorf("without time it is %+v, %v", got, err)
	}
}
