package detect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
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

func TestPackedFactIsTheFact(t *testing.T) {
	all := []detect.Fact{{}, theft(), full(), {Agent: "a", Time: -1, Latest: 1 << 62, Chain: []string{"", "b"}, Deployed: true}, theft(),
		{Agent: "bob", Event: strings.Repeat("long", 1<<16)}, theft()} // the long one has a page of its own
	var pages detect.FactPages
	var packed []detect.PackedFact
	for i := range all {
		packed = append(packed, pages.Keep(&all[i], []byte(all[i].Agent)))
	}
	for i, want := range all {
		got, with := packed[i].Unpack()
		if diff := gocmp.Diff(want, got); diff != "" || with != want.Agent {
			t.Errorf("fact %d, with %q (-want +got):\n%s", i, with, diff)
		}
		if agent, event, at := packed[i].Told(); agent != want.Agent || event != want.Event || at != want.Time {
			t.Errorf("fact %d is told by %q of %q at %s", i, agent, event, at)
		}
		if diff := gocmp.Diff(want, got.Clone()); diff != "" {
			t.Errorf("clone of fact %d (-want +got):\n%s", i, diff)
		}
	}
}

// TestPagesAreSparse has facts of many pages go: pages with none are gone, and do not count.
func TestPagesAreSparse(t *testing.T) {
	const n = 10_000
	f := func(what string, keeps func(i int) bool, want bool) {
		t.Helper()
		var pages detect.FactPages
		var all []detect.PackedFact
		for i := range n {
			fact := theft()
			fact.Event, fact.Session, fact.Credential.ID = fmt.Sprint("event ", i), fmt.Sprint("session ", i), fmt.Sprint("token ", i)
			all = append(all, pages.Keep(&fact, nil))
		}
		for i, k := range all {
			if !keeps(i) {
				pages.Drop(k)
			}
		}
		if got := pages.Sparse(); got != want {
			t.Errorf("where %s, Sparse() = %t, want %t", what, got, want)
		}
	}
	f("all stay", func(int) bool { return true }, false)
	f("the last half stays", func(i int) bool { return i >= n/2 }, false)
	f("the last ones stay", func(i int) bool { return i >= n-n/100 }, false)
	f("every other one stays", func(i int) bool { return i%2 == 0 }, false)
	f("one in a hundred stays", func(i int) bool { return i%100 == 0 }, true)
	f("none stays", func(int) bool { return false }, false)
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
		case reflect.Slice:
			if v.IsNil() {
				v.Set(reflect.ValueOf([]string{"", "x"}))
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
	f(func(f *detect.Fact) { f.Kind = "rumour" }, `kind: is "rumour", want one of [credential tool server record destination principal deployment]`)
	f(func(f *detect.Fact) { f.Entity = "" }, "entity: has 0 bytes, want 1 to 128")
	f(func(f *detect.Fact) { f.Entity = strings.Repeat("x", 129) }, "entity: has 129 bytes, want 1 to 128")
	f(func(f *detect.Fact) { f.Agent = "" }, "agent: is missing")
	f(func(f *detect.Fact) { f.Event = "" }, "event: is missing")
	f(func(f *detect.Fact) { f.Time = -1 }, "time: is missing or before the year 2000")
	g := func(line, want string) {
		t.Helper()
		if _, err := detect.ParseFact([]byte(line)); err == nil || err.Error() != "fact: "+want {
			t.Errorf("%s: error %v, want %s", line, err, want)
		}
	}
	g(``, "line: at byte 0: the line ends too soon, want an object")
	g(`[]`, "line: at byte 0: is a list, want an object")
	g(`{"kind"`, "kind: at byte 7: the line ends too soon, want a colon")
	g(`{"kind":1}`, "kind: at byte 8: is a number, want a string")
	g(`{"chain":["a" "b"]}`, "chain: at byte 14: the JSON is broken here, want a comma or ]")
	g(`{"known":"true"}`, "known: at byte 9: is a string, want true or false")
	g(`{"credential":"x"}`, "credential: at byte 14: is a string, want an object")
	g(`{"time":"yesterday"}`, "time: at byte 8: is not a time from the years 1678 to 2262, want RFC 3339 such as 2006-01-02T15:04:05.999Z")
	g(`{}{}`, "line: at byte 2: goes on behind the object, want one object")
	g("{\"role\":\"\xff\"}", "role: at byte 9: is not valid UTF-8 here, want UTF-8")
	f(func(f *detect.Fact) { f.Kind = detect.RecordFact }, `deed: is "", want wrote, read or acted`)
}

// asEncodingJSON reads a fact as encoding/json does, but with names to the letter, the
// last of two members of a name, and lists that are empty left out.
func asEncodingJSON(b []byte) (f detect.Fact, err error) {
	exact := func(b []byte, of reflect.Type) (map[string]json.RawMessage, error) {
		var all map[string]json.RawMessage
		err := json.Unmarshal(b, &all)
		names := map[string]bool{}
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			names[name] = true
		}
		maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool { return !names[name] })
		return all, err
	}
	all, err := exact(b, reflect.TypeFor[detect.Fact]())
	if err != nil {
		return f, err
	}
	if c := all["credential"]; c != nil {
		of, err := exact(c, reflect.TypeFor[detect.Credential]())
		if err != nil {
			return f, err
		}
		if all["credential"], err = json.Marshal(of); err != nil {
			return f, err
		}
	}
	for _, name := range []string{"time", "latest"} { // ours takes both cases of T and Z
		if v := all[name]; v != nil && v[0] == '"' {
			all[name] = bytes.ToUpper(v)
		}
	}
	b, err = json.Marshal(all)
	if err != nil {
		return f, err
	}
	err = json.Unmarshal(b, &f)
	for _, list := range []*[]string{&f.Chain, &f.Lineage} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	return f, err
}

func TestFactReadsWhatEncodingJSONDoes(t *testing.T) {
	f := func(b string) {
		t.Helper()
		want, err := asEncodingJSON([]byte(b))
		if err != nil {
			t.Fatal(err)
		}
		got, err := detect.ParseFact([]byte(b))
		if diff := gocmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-encoding/json +ours):\n%s", b, err, diff)
		}
	}
	for _, fact := range []detect.Fact{full(), theft()} {
		f(string(fact.AppendJSON(nil)))
	}
	const head = `{"kind":"tool","entity":"t","time":"2026-01-05T09:00:00.5+01:00","event":"e","agent":"a"`
	f(head + `}`)
	f(` { "kind" : "tool" , "entity":"t","time":"2026-01-05T09:00:00Z","event":"e","agent":"a" } ` + "\n")
	f(head + `,"later":{"x":[1,-2.5e3,{"y":null}],"z":true},"credential":{"more":[],"id":"\u00e9\ud83d\ude00"}}`)
	f(head + `,"chain":[],"credential":null,"role":null,"known":null,"latest":null}`)
	f(head + `,"chain":["a",null,"b"],"credential":{},"known":false,"latest":"","deployed":true}`)
	f(head + `,"role":"x","role":"y","credential":{"id":"x"},"credential":{"issuer":"y"}}`)
}

func BenchmarkParseFact(b *testing.B) {
	fact := theft()
	line := fact.AppendJSON(nil)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := detect.ParseFact(line); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var f detect.Fact
			if err := json.Unmarshal(line, &f); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func FuzzParseFact(f *testing.F) {
	good := theft()
	f.Add(good.AppendJSON(nil))
	all := full()
	f.Add(all.AppendJSON(nil))
	f.Add([]byte(`{"kind":"record","entity":"0badcafe","time":"2026-01-05T09:00:00Z","event":"e","agent":"a","deed":"acted"}`))
	f.Add([]byte(`{"kind":"tool","chain":null}`))
	f.Add([]byte(`{"kind":"credential","entity":"x","time":"1000-01-01T00:00:00Z","event":"e","agent":"a","chain":[]}`))
	f.Add([]byte(`{"kind":"tool","entity":"t","time":"2026-01-05t09:00:00.1234567890z","event":"e","agent":"a","known":null,"credential":{"id":"a","id":null},"x":[[]]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		fact, err := detect.ParseFact(b)
		if err != nil {
			return
		}
		if want, err := asEncodingJSON(b); err != nil || gocmp.Diff(want, fact) != "" {
			t.Errorf("%s is read as %+v, by encoding/json as %+v, %v", b, fact, want, err)
		}
		got, err := detect.ParseFact(fact.AppendJSON(nil))
		if err != nil || gocmp.Diff(fact, got) != "" {
			t.Errorf("%s is read, written and read again as %+v, %v", b, got, err)
		}
		var pages detect.FactPages
		if got, _ := pages.Keep(&fact, nil).Unpack(); gocmp.Diff(fact, got) != "" {
			t.Errorf("%+v is packed and unpacked as %+v", fact, got)
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
