package detect_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

func theft() detect.Fact {
	return detect.Fact{Kind: detect.CredentialFact, Entity: "tok-1", Tenant: "acme", Time: 1767603600e9, Event: "e1", Agent: "bob", Role: "clerk",
		Session: "s1", User: "ann", Parent: "boss", Chain: []string{"ann", "boss"}, Credential: detect.Credential{ID: "tok-1", Issuer: "idp"}, Known: true}
}

func TestFactRoundTrip(t *testing.T) {
	want := theft()
	got, err := detect.ParseFact(want.AppendJSON(nil))
	if diff := gocmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// full is a fact that has everything, whether or not any fact has all of it.
func full() detect.Fact {
	f := theft()
	v := reflect.ValueOf(&f).Elem()
	for i := range v.NumField() {
		switch v := v.Field(i); v.Kind() {
		case reflect.String:
			if v.String() == "" {
				v.SetString("\"<" + v.Type().Name() + ">\u2028é\n")
			}
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int64:
			v.SetInt(1767603600123456789)
		}
	}
	f.Kind, f.Credential.Subject = detect.CredentialFact, "bob"
	return f
}

// TestFactAppendsWhatEncodingJSONDoes wants each field under its name, and none where it is empty.
func TestFactAppendsWhatEncodingJSONDoes(t *testing.T) {
	for _, f := range []detect.Fact{full(), theft(), {Kind: detect.ToolFact, Entity: "t", Time: 1, Event: "e", Agent: "a", Credential: detect.Credential{Subject: "s"}}} {
		var want bytes.Buffer
		plain := json.NewEncoder(&want)
		plain.SetEscapeHTML(false)
		if err := plain.Encode(f); err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(strings.TrimSpace(want.String()), `\u2028`, "\u2028") // encoding/json escapes it for JavaScript's sake
		if diff := gocmp.Diff(text, string(f.AppendJSON(nil))); diff != "" {
			t.Errorf("(-encoding/json +ours):\n%s", diff)
		}
	}
}

func BenchmarkFactAppendJSON(b *testing.B) {
	f := theft()
	var buf []byte
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = f.AppendJSON(buf[:0])
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(f); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestFactRefusals(t *testing.T) {
	f := func(change func(*detect.Fact), want string) {
		t.Helper()
		fact := theft()
		change(&fact)
		b := fact.AppendJSON(nil)
		if _, err := detect.ParseFact(b); err == nil || err.Error() != "fact: "+want {
			t.Errorf("%s: error %v, want %s", b, err, want)
		}
	}
	f(func(f *detect.Fact) { f.Kind = "rumour" }, `kind: is "rumour", want one of [credential tool server record destination principal]`)
	f(func(f *detect.Fact) { f.Entity = "" }, "entity: has 0 bytes, want 1 to 128")
	f(func(f *detect.Fact) { f.Entity = strings.Repeat("x", 129) }, "entity: has 129 bytes, want 1 to 128")
	f(func(f *detect.Fact) { f.Agent = "" }, "agent: is missing")
	f(func(f *detect.Fact) { f.Event = "" }, "event: is missing")
	f(func(f *detect.Fact) { f.Time = -1 }, "time: is missing or before the year 2000")
	f(func(f *detect.Fact) { f.Kind = detect.RecordFact }, `deed: is "", want wrote, read or acted`)
}

func FuzzParseFact(f *testing.F) {
	good := theft()
	f.Add(good.AppendJSON(nil))
	all := full()
	f.Add(all.AppendJSON(nil))
	f.Add([]byte(`{"kind":"record","entity":"0badcafe","time":"2026-01-05T09:00:00Z","event":"e","agent":"a","deed":"acted"}`))
	f.Add([]byte(`{"kind":"tool","chain":null}`))
	f.Add([]byte(`{"kind":"credential","entity":"x","time":"1000-01-01T00:00:00Z","event":"e","agent":"a","chain":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		fact, err := detect.ParseFact(b)
		if err != nil {
			return
		}
		got, err := detect.ParseFact(fact.AppendJSON(nil))
		if err != nil || gocmp.Diff(fact, got) != "" {
			t.Errorf("%s is read, written and read again as %+v, %v", b, got, err)
		}
	})
}

// TestFactsAreNewsOnly counts the facts of an agent that does the same all the
// time: each is told once, and again after a week.
func TestFactsAreNewsOnly(t *testing.T) {
	engine := detect.New(detect.DefaultRules())
	told := map[detect.FactKind]int{}
	day := event.Timestamp(24 * 3600e9)
	const start = event.Timestamp(1767571200e9) // a Monday, but facts are told again from Thursday on
	for i := range 14 * 24 {
		ev := event.Event{Time: start + event.Timestamp(i)*day/24, Name: event.ToolCall, Agent: "a", ID: strings.Repeat("i", i+1), Session: "s",
			Tool: "mail", Server: "mail.example", ToolHash: "aa", Effect: event.Send, Destination: "partner.example", User: "ann", CredentialID: "tok"}
		engine.Observe(&ev, int64(i), event.Source{})
		for _, f := range engine.Facts() {
			told[f.Kind]++
		}
	}
	want := map[detect.FactKind]int{detect.CredentialFact: 3, detect.ToolFact: 3, detect.ServerFact: 3, detect.DestinationFact: 3, detect.PrincipalFact: 3}
	if diff := gocmp.Diff(want, told); diff != "" {
		t.Errorf("facts of a fortnight that touches three weeks (-want +told):\n%s", diff)
	}
}

// TestFactsAreCapped floods: what is beyond the cap of an hour is counted, not told.
func TestFactsAreCapped(t *testing.T) {
	engine := detect.New(detect.DefaultRules())
	told := 0
	for i := range 1000 {
		ev := event.Event{Time: 1767603600e9 + event.Timestamp(i), Name: event.MemoryWrite, Agent: "a", ID: strings.Repeat("i", i+1), Store: "s", Record: "r"}
		engine.Observe(&ev, int64(i), event.Source{})
		told += len(engine.Facts())
	}
	if s := engine.Stats(); told != 120 || s.Told != 120 || s.Held != 880 {
		t.Errorf("told %d, %d in the statistics, held %d; want 120, 120, 880", told, s.Told, s.Held)
	}
}
