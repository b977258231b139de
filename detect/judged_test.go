package detect

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// TestVerdictIsTold has a verdict on an agent's findings reach those who judge what several
// agents share, as facts about the units that the findings name.
func TestVerdictIsTold(t *testing.T) {
	e := New(DefaultRules())
	judge := func(op Operation, offset int64) []Fact {
		t.Helper()
		ev := &event.Event{Time: hourly(50), Name: event.ConfigChange, Agent: "clerk", ID: "decision"}
		if err := e.Operate(op, ev, offset, event.Source{}); err != nil {
			t.Fatal(err)
		}
		return e.Facts()
	}
	issuer, store := Unit(CredentialFact, SharedCredentialDetector, "https://idp.example"), Unit(RecordFact, CrowdDetector, "notes")
	v := Verdict{False: true, Detectors: []string{"first_use", SharedCredentialDetector, CrowdDetector, "nosuch"},
		Novel: []string{"privilege:4f1a", issuer, "nosuch/crowd:0", "record/nosuch:0", "record/record:0", "record/crowd", store}}
	if got := judge(v.Operation(), 1); len(got) != 0 {
		t.Errorf("told of an agent that is not known is %+v, want nothing", got)
	}
	e.Observe(&event.Event{Time: hourly(7), Name: event.ToolCall, Agent: "clerk", Tenant: "acme", ID: "1", Tool: "crm"}, 2, event.Source{})
	at := instantOf(hourly(7)).stamp()
	fact := func(k FactKind, unit, detector string) Fact {
		return Fact{Kind: k, Entity: unit, Tenant: "acme", Time: at, Latest: at, Event: "decision", Agent: "clerk", Deed: Judged, Tool: detector, Hash: "withdraw_false_positive"}
	}
	v.Withdrawn = true
	ev := &event.Event{Time: hourly(50), Name: event.ConfigChange, Agent: "clerk", ID: "decision"}
	if err := e.Operate(v.Operation(), ev, 2, event.Source{}); err != nil || len(e.Facts()) != 0 {
		t.Errorf("an operation that was taken in before tells %+v, %v", e.Facts(), err)
	}
	ev.ID = "another"
	if err := e.Operate(v.Operation(), ev, 3, event.Source{}); err != nil {
		t.Fatal(err)
	}
	want := []Fact{fact(CredentialFact, issuer, SharedCredentialDetector), fact(RecordFact, store, CrowdDetector)}
	for i := range want {
		want[i].Event = "another"
	}
	if diff := cmp.Diff(want, e.Facts()); diff != "" {
		t.Fatalf("told is (-want +got):\n%s", diff)
	}
	for _, f := range e.Facts() {
		again, err := ParseFact(f.AppendJSON(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f, again); diff != "" {
			t.Errorf("read again it is another (-was +is):\n%s", diff)
		}
		got, ok := again.VerdictOf()
		if diff := cmp.Diff(Verdict{False: true, Withdrawn: true, Detectors: []string{f.Tool}}, got); !ok || diff != "" {
			t.Errorf("the verdict is another (-want +got):\n%s", diff)
		}
	}
	long := "a tenant of a name that no profile keeps the whole of"
	called := &event.Event{Time: hourly(8), Name: event.ToolCall, Agent: "clerk", Tenant: long, ID: "2", Tool: "crm", CredentialID: "tok"}
	e.Observe(called, 4, event.Source{})
	where := e.Facts()[0].Group()
	ev.ID, ev.Tenant = "a third", long
	if err := e.Operate(v.Operation(), ev, 5, event.Source{}); err != nil {
		t.Fatal(err)
	}
	if got := e.Facts()[0].Group(); got != where {
		t.Errorf("a verdict goes where %q is judged, want it where its agent's facts are, %q", got, where)
	}
	for _, f := range []Fact{{Deed: Read, Tool: RecordDetector, Hash: "false_positive"}, {Deed: Judged, Tool: RecordDetector, Hash: "fine"}, {Deed: Judged}} {
		if v, ok := f.VerdictOf(); ok {
			t.Errorf("%+v is taken for the verdict %+v", f, v)
		}
	}
}
