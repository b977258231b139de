package event

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"
)

var update = flag.Bool("update", false, "write event.schema.json anew")

const schemaFile = "event.schema.json"

// schema derives the JSON Schema of an event from the Go type. It describes
// what a shipper should write; Decode forgives a little more (null, values that
// an enumeration does not know).
func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	str := func() *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", MaxLength: jsonschema.Ptr(MaxString)}
	}
	enum := func(values ...any) *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Enum: values} }
	list := func(items *jsonschema.Schema) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "array", Items: items, MaxItems: jsonschema.Ptr(MaxItems)}
	}
	object := func(values *jsonschema.Schema) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "object", AdditionalProperties: values, PropertyNames: str(), MaxProperties: jsonschema.Ptr(MaxItems)}
	}
	number := func(kind string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: kind, Minimum: jsonschema.Ptr(0.0)}
	}
	s, err := jsonschema.For[Event](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[string](): str(),
		reflect.TypeFor[Timestamp](): {OneOf: []*jsonschema.Schema{
			{Type: "string", Format: "date-time", Pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$`},
			{Type: "integer", Minimum: jsonschema.Ptr(float64(year2000))},
		}},
		reflect.TypeFor[Name]():             enum(anys(Names())...),
		reflect.TypeFor[Effect]():           enum(append(anys(Effects()), "exec")...),
		reflect.TypeFor[Sensitivity]():      enum(anys(Sensitivities())...),
		reflect.TypeFor[Trust]():            enum(anys(Trusts())...),
		reflect.TypeFor[Origin]():           enum(anys(Origins())...),
		reflect.TypeFor[[]string]():         list(str()),
		reflect.TypeFor[[]Effect]():         list(enum(append(anys(Effects()), "exec")...)),
		reflect.TypeFor[Object[Origin]]():   object(enum(anys(Origins())...)),
		reflect.TypeFor[Object[string]]():   object(str()),
		reflect.TypeFor[Object[[]string]](): object(list(str())),
		reflect.TypeFor[Opt[int64]]():       number("integer"),
		reflect.TypeFor[Opt[float64]]():     number("number"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "Stakeout event"
	s.Description = "One thing an agent did: one flat JSON object on a line of at most 256 KiB. Metadata only, never content or credentials. " +
		"Other fields are skipped and counted."
	s.AdditionalProperties = nil
	s.Properties["gen_ai.agent.id"].MinLength = jsonschema.Ptr(1)
	return s
}

func anys[T ~string](values []T) []any {
	var a []any
	for _, v := range values {
		a = append(a, string(v))
	}
	return a
}

func TestSchemaIsTheTypes(t *testing.T) {
	want, err := json.MarshalIndent(schema(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the type says; run go generate (-want +got):\n%s", schemaFile, cmp.Diff(string(want), string(got)))
	}
}

// What the schema takes, Decode takes, and the other way round, as far as a schema can say it.
func TestSchemaAndDecodeAgree(t *testing.T) {
	b, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	checked, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := func(line string, want bool) {
		t.Helper()
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var d Decoder
		decoded := d.Decode([]byte(line), new(Event))
		if err := checked.Validate(v); (err == nil) != want || (decoded == nil) != want {
			t.Errorf("%s: the schema says %v, Decode says %v; want both to take it: %t", line, err, decoded, want)
		}
	}
	_, line := full()
	f(line, true)
	for _, line := range corpus(t)[:200] {
		f(string(line), true)
	}
	f(head+`}`, true)
	f(head+`,"vendor.build":"x17"}`, true)
	f(head+`,"stakeout.credential.expires":1772442000000000000}`, true)
	f(head+`,"stakeout.credential.expires":"2026-03-02t08:00:00.5+02:00"}`, true)
	f(head+`,"stakeout.seq":7.0,"stakeout.effect":"exec"}`, true)

	f(`{}`, false)
	f(`[]`, false)
	f(`{"event.name":"tool.call","gen_ai.agent.id":"a"}`, false)
	f(`{"time":"2026-03-02T08:00:00Z","gen_ai.agent.id":"a"}`, false)
	f(`{"time":"2026-03-02T08:00:00Z","event.name":"tool.call"}`, false)
	f(`{"time":"2026-03-02T08:00:00Z","event.name":"tool.call","gen_ai.agent.id":""}`, false)
	f(`{"time":"2026-03-02T08:00:00Z","event.name":"tool.call","gen_ai.agent.id":17}`, false)
	f(`{"time":"2026-03-02T08:00:00Z","event.name":"tool.cal","gen_ai.agent.id":"a"}`, false)
	f(`{"time":"yesterday","event.name":"tool.call","gen_ai.agent.id":"a"}`, false)
	f(`{"time":1772442000,"event.name":"tool.call","gen_ai.agent.id":"a"}`, false)
	f(head+`,"stakeout.seq":"7"}`, false)
	f(head+`,"stakeout.seq":7.5}`, false)
	f(head+`,"stakeout.bytes":-1}`, false)
	f(head+`,"stakeout.cost":-0.1}`, false)
	f(head+`,"stakeout.chain":"u"}`, false)
	f(head+`,"stakeout.chain":[7]}`, false)
	f(head+`,"stakeout.arg.origins":{"a":7}}`, false)
	f(head+`,"stakeout.arg.hashes":{"a":"aa"}}`, false)
	long := string(bytes.Repeat([]byte("x"), MaxString+1))
	f(head+`,"user.id":"`+long+`"}`, false)
	f(head+`,"stakeout.arg.sources":{"`+long+`":"t"}}`, false)
}
