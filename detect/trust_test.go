package detect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// hourly is the i-th hour of a time.
func hourly(i int) event.Timestamp {
	return event.At(time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Hour))
}

// TestWithoutTrustNothingIsBent tells the same agent twice: once with forged events of
// every kind strewn in from a topic that may not speak for it, once without. What its own
// topic leads to is the same, byte for byte.
func TestWithoutTrustNothingIsBent(t *testing.T) {
	src := func(topic string, offset int) event.Source {
		return event.Source{Topic: topic, Partition: 1, Offset: int64(offset)}
	}
	run := func(forged bool) (own, others []Finding, profile, beside []byte) {
		e := New(DefaultRules())
		e.UseTrust(func(topic, agent, _ string) bool { return topic == "raw.clerks" && agent == "clerk" })
		offset := int64(0)
		observe := func(ev *event.Event, src event.Source) []Finding {
			offset++
			return e.Observe(ev, offset, src)
		}
		for i := range 400 {
			ev := &event.Event{Time: hourly(i), Name: event.ToolCall, Agent: "clerk", ID: fmt.Sprint("own", i), Session: fmt.Sprint("s", i/4),
				Tool: "crm", Privilege: "crm:read", Effect: event.Read, Seq: event.Some(int64(i%4 + 1))}
			if i == 399 {
				ev.Privilege, ev.Effect = "treasury:transfer", event.Money
			}
			if forged {
				for n, f := range []event.Event{
					{Name: event.ToolResult, Origin: event.FromUntrusted, Tool: "web"},
					{Name: event.ToolCall, Tool: "payout", Privilege: "treasury:transfer", Effect: event.Money, Seq: event.Some(int64(1000 + i))},
					{Name: event.MemoryWrite, Store: "m", Record: "r", Origin: event.FromUntrusted},
					{Name: event.ToolCall, Tool: "crm", Privilege: "crm:read", Effect: event.Read},
				} {
					f.Time, f.Agent, f.ID, f.Session = ev.Time, "clerk", fmt.Sprint("forged", i, n), ev.Session
					if n == 3 {
						f.ID = ev.ID // so that the true one looks like a repeat
					}
					others = append(others, observe(&f, src("raw.public", i*4+n))...)
				}
			}
			own = append(own, observe(ev, src("raw.clerks", i))...)
		}
		for id, encoded := range e.Changed() {
			switch NameOf(id) {
			case "clerk":
				profile = bytes.Clone(encoded)
			case "clerk (untrusted)":
				beside = bytes.Clone(encoded)
			default:
				t.Errorf("there is a profile of %q", id)
			}
		}
		return own, others, profile, beside
	}
	own, _, alone, none := run(false)
	bent, others, profile, beside := run(true)
	if len(own) == 0 || none != nil {
		t.Fatalf("undisturbed: %d findings, want one at least; a profile beside it: %t", len(own), none != nil)
	}
	if diff := cmp.Diff(own, bent); diff != "" {
		t.Errorf("forged events have bent what is found (-alone +forged):\n%s", diff)
	}
	learned := func(encoded []byte) []byte {
		var p Profile
		if err := p.UnmarshalBinary(encoded); err != nil {
			t.Fatal(err)
		}
		p.seen.applied = 0 // the log is longer
		return p.AppendBinary(nil)
	}
	if !bytes.Equal(learned(alone), learned(profile)) {
		t.Error("forged events have bent the profile")
	}
	if beside == nil {
		t.Fatal("what was told without trust is not kept")
	}
	for _, f := range others {
		if slices.ContainsFunc(own, func(o Finding) bool { return o.ID == f.ID }) {
			t.Errorf("a forged finding has the id of a true one: %+v", f)
		}
	}
}

// TestWithoutTrustIsHeldAgainstTheAgent tells something odd of an agent that is well known,
// by a topic that may not speak for it, under the id of what the agent itself does next.
func TestWithoutTrustIsHeldAgainstTheAgent(t *testing.T) {
	e := New(DefaultRules())
	e.UseTrust(func(topic, _, _ string) bool { return topic == "raw.clerks" })
	observe := func(topic, id string, i int) []Finding {
		ev := &event.Event{Time: hourly(i), Name: event.ToolCall, Agent: "clerk", ID: id, Tool: "crm", Privilege: "crm:read", Effect: event.Read}
		if i >= 300 {
			ev.Privilege, ev.Effect = "treasury:transfer", event.Money
		}
		return e.Observe(ev, int64(i), event.Source{Topic: topic, Offset: int64(i)})
	}
	for i := range 300 {
		observe("raw.clerks", fmt.Sprint(i), i)
	}
	forged, own := observe("raw.public", "payout", 300), observe("raw.clerks", "payout", 301)
	if len(forged) != 1 || len(own) != 1 || forged[0].Detector != own[0].Detector || forged[0].ID == own[0].ID {
		t.Errorf("found without trust %+v, and by itself %+v, want one finding each by the same detector and of another id", forged, own)
	}
}

// TestTrustSurvives restores both profiles of an agent, and has a person's decision reach both.
func TestTrustSurvives(t *testing.T) {
	trust := func(topic, _, _ string) bool { return topic == "raw.clerks" }
	e, again := New(DefaultRules()), New(DefaultRules())
	e.UseTrust(trust)
	again.UseTrust(trust)
	for i := range 10 {
		ev := &event.Event{Time: hourly(i), Name: event.ToolCall, Agent: "clerk", ID: fmt.Sprint(i), Tool: "crm"}
		e.Observe(ev, int64(i), event.Source{Topic: []string{"raw.clerks", "raw.public"}[i%2], Offset: int64(i)})
	}
	for id, encoded := range e.Changed() {
		if err := again.Restore(id, encoded); err != nil {
			t.Fatal(err)
		}
	}
	if again.Agents() != 2 {
		t.Fatalf("%d profiles, want that of the agent and that beside it", again.Agents())
	}
	last := &event.Event{Time: hourly(9), Name: event.ToolCall, Agent: "clerk", ID: "9", Tool: "crm"}
	again.Observe(last, 9, event.Source{Topic: "raw.public", Offset: 9})
	if s := again.Stats(); s.Repeated != 1 || s.Judged != 0 {
		t.Errorf("an event that was judged before is %+v, want it to be a repeat", s)
	}
	if err := again.Operate(Reset, &event.Event{Time: hourly(10), Name: event.ConfigChange, Agent: "clerk", ID: "op"}, 10, event.Source{}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for id, encoded := range again.Changed() {
		s, err := Summarize(id, encoded)
		if err != nil {
			t.Fatal(err)
		}
		if n++; s.State != Relearning {
			t.Errorf("%q is %s after a reset, want %s", NameOf(id), s.State, Relearning)
		}
	}
	if n != 2 {
		t.Errorf("the reset has changed %d profiles, want 2", n)
	}
}

// TestNamesEndApart has an agent by a name that ends as the ids of profiles of what was told
// without trust do: it has a profile of its own, which begins with nothing.
func TestNamesEndApart(t *testing.T) {
	for _, trust := range []Trust{nil, func(topic, _, _ string) bool { return topic == "raw.clerks" }} {
		e := New(DefaultRules())
		e.UseTrust(trust)
		offset := int64(0)
		observe := func(topic, agent string) {
			offset++
			e.Observe(&event.Event{Time: hourly(int(offset)), Name: event.ToolCall, Agent: agent, ID: fmt.Sprint(offset), Tool: "crm"}, offset, event.Source{Topic: topic, Offset: offset})
		}
		for range 5 {
			observe("raw.clerks", "clerk")
		}
		observe("raw.public", "clerk")
		observe("raw.clerks", "clerk\x00")
		ev := &event.Event{Time: hourly(7), Name: event.ConfigChange, Agent: "clerk\x00", ID: "decision"}
		if err := e.Operate(Confirm, ev, offset+1, event.Source{}); err != nil {
			t.Fatal(err)
		}
		var got []string
		for id, encoded := range e.Changed() {
			var p Profile
			if err := p.UnmarshalBinary(encoded); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%q %d %t", id, p.events, p.vouched))
		}
		slices.Sort(got)
		got = slices.Compact(got) // a copy may come twice
		want := []string{`"clerk" 6 false`, `"clerk\x00\x00" 1 true`}
		if trust != nil {
			want = []string{`"clerk" 5 false`, `"clerk\x00" 6 false`, `"clerk\x00\x00" 1 true`}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("profiles, what they have learned and whether they are vouched for (-want +got):\n%s", diff)
		}
	}
}

// TestCensusTakesNobodysWord strews in what somebody tells of the agents without trust: what is
// normal for their group is the same.
func TestCensusTakesNobodysWord(t *testing.T) {
	learned := func(forged bool) *Peers {
		e, c := New(DefaultRules()), NewCensus()
		e.UseTrust(func(topic, _, _ string) bool { return topic == "raw.clerks" })
		e.Count(c)
		offset := int64(0)
		for i := range 200 {
			agent := fmt.Sprintf("clerk-%d", i%5)
			for _, ev := range errand(agent, i) {
				offset++
				e.Observe(ev, offset, event.Source{Topic: "raw.clerks", Offset: offset})
			}
			if !forged {
				continue
			}
			for _, ev := range hijack(agent, i) {
				offset++
				ev.ID, ev.Session = "said "+ev.ID, "said "+ev.Session
				e.Observe(ev, offset, event.Source{Topic: "raw.public", Offset: offset})
			}
		}
		return c.Peers("p", DefaultRules())
	}
	want, err := json.Marshal(learned(false))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(learned(true))
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < 1000 || !bytes.Equal(want, got) {
		t.Errorf("%d bytes are learned of peers by themselves, and others where somebody tells of them: %t", len(want), !bytes.Equal(want, got))
	}
}

// TestNobodyMovesAnAgentToHisTenant has who may speak for the agents of one tenant call an
// agent of another one his own.
func TestNobodyMovesAnAgentToHisTenant(t *testing.T) {
	may := map[string]string{"raw.acme": "acme", "raw.globex": "globex"}
	long := "the tenant of a name that a profile does not keep the whole of"
	for _, own := range []string{"acme", long} {
		e := New(DefaultRules())
		e.UseTrust(func(topic, _, tenant string) bool {
			return topic == "raw.all" || topic == "raw.acme" && tenant == own || may[topic] == tenant
		})
		offset := int64(0)
		observe := func(topic, tenant string, odd bool) []Finding {
			offset++
			ev := &event.Event{Time: hourly(int(offset)), Name: event.ToolCall, Agent: "clerk", Tenant: tenant, ID: fmt.Sprint(offset), Tool: "crm",
				Privilege: "crm:read", Effect: event.Read, CredentialID: fmt.Sprint("tok", offset)}
			if odd {
				ev.Privilege, ev.Effect = "treasury:transfer", event.Money
			}
			return e.Observe(ev, offset, event.Source{Topic: topic, Offset: offset})
		}
		for range 300 {
			observe("raw.acme", own, false)
		}
		observe("raw.all", "", false)
		found := observe("raw.globex", "globex", true)
		if len(found) != 1 || found[0].Tenant != brief(own).String() {
			t.Errorf("what another tenant's topic tells has led to %+v, want one finding, of %s", found, own)
		}
		for _, f := range e.Facts() {
			if f.Tenant != brief(own).String() {
				t.Errorf("a fact of tenant %q is told, want %s", f.Tenant, own)
			}
		}
		if found := observe("raw.acme", own, true); len(found) != 1 || found[0].Tenant != own {
			t.Errorf("what the agent does itself has led to %+v, want one finding, of %s", found, own)
		}
		if e.Agents() != 2 {
			t.Errorf("%d profiles, want that of the agent and that beside it", e.Agents())
		}
		if observe("raw.all", "globex", false); e.tenantOf("clerk") != brief("globex") {
			t.Errorf("who may speak for both has moved the agent to %s, want globex", e.tenantOf("clerk"))
		}
	}
}
