package event

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const head = `{"time":"2026-03-02T08:00:00Z","event.name":"tool.call","gen_ai.agent.id":"a1"`

// full is an event with every field, and its canonical line.
func full() (Event, string) {
	ev := Event{
		Time: At(time.Date(2026, 3, 2, 8, 0, 0, 123456789, time.UTC)), Name: ToolCall, Agent: "acme:clerk:1",
		ID: "e-1", Session: "s-1", Seq: Some[int64](0), TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7", Tenant: "acme",
		Role: "clerk", Version: "1.4.0", Model: "large", Parent: "acme:boss",
		User: "zoë", Chain: []string{"u", "acme:boss"}, PrincipalScopes: []string{"crm:read"},
		CredentialID: "jti-1", CredentialIssuer: "https://idp.example", CredentialSubject: "acme:clerk:1",
		CredentialScopes: []string{"crm:read", "", "mail:send"}, CredentialExpires: At(time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)),
		Tool: "send_mail", CallID: "c1", ToolHash: "00ff", Server: "mcp.example", Method: "tools/call",
		Effect: Send, Privilege: "mail:send", Resource: "outbox", Sensitivity: Confidential, Destination: "partner.example",
		ArgKeys:    []string{"to", "body"},
		ArgOrigins: Object[Origin]{{"to", FromUntrusted}, {"body", FromModel}},
		ArgSources: Object[string]{{"to", "read_mail"}},
		ArgHashes:  Object[[]string]{{"to", []string{"aa", "bb"}}, {"body", nil}},
		Trust:      Untrusted, Intents: []Effect{Send, Money},
		Origin: FromTool, Hash: "0a", Simhash: "0b", Store: "notes", Record: "r1",
		InputTokens: Some[int64](9223372036854775807), OutputTokens: Some[int64](7), Cost: Some(0.00025), Bytes: Some[int64](1024), Duration: Some(1.5),
		ErrorType: "timeout\b\t\n\f\r\"quoted\"\x01", Delegate: "helper", DelegateScopes: []string{"crm:read"},
	}
	return ev, `{"time":"2026-03-02T08:00:00.123456789Z","event.name":"tool.call","gen_ai.agent.id":"acme:clerk:1",` +
		`"event.id":"e-1","gen_ai.conversation.id":"s-1","stakeout.seq":0,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","stakeout.tenant":"acme",` +
		`"gen_ai.agent.name":"clerk","gen_ai.agent.version":"1.4.0","gen_ai.request.model":"large","stakeout.agent.parent":"acme:boss",` +
		`"user.id":"zoë","stakeout.chain":["u","acme:boss"],"stakeout.principal.scopes":["crm:read"],` +
		`"stakeout.credential.id":"jti-1","stakeout.credential.issuer":"https://idp.example","stakeout.credential.subject":"acme:clerk:1",` +
		`"stakeout.credential.scopes":["crm:read","","mail:send"],"stakeout.credential.expires":"2026-03-02T09:00:00Z",` +
		`"gen_ai.tool.name":"send_mail","gen_ai.tool.call.id":"c1","stakeout.tool.hash":"00ff","server.address":"mcp.example","mcp.method.name":"tools/call",` +
		`"stakeout.effect":"send","stakeout.privilege":"mail:send","stakeout.resource":"outbox","stakeout.sensitivity":"confidential","stakeout.destination":"partner.example",` +
		`"stakeout.arg.keys":["to","body"],"stakeout.arg.origins":{"to":"untrusted","body":"model"},"stakeout.arg.sources":{"to":"read_mail"},"stakeout.arg.hashes":{"to":["aa","bb"],"body":[]},` +
		`"stakeout.trust":"untrusted","stakeout.intents":["send","money"],` +
		`"stakeout.origin":"tool","stakeout.hash":"0a","stakeout.simhash":"0b","gen_ai.memory.store.id":"notes","gen_ai.memory.record.id":"r1",` +
		`"gen_ai.usage.input_tokens":9223372036854775807,"gen_ai.usage.output_tokens":7,"stakeout.cost":0.00025,"stakeout.bytes":1024,"stakeout.duration":1.5,` +
		`"error.type":"timeout\b\t\n\f\r\"quoted\"\u0001","stakeout.delegate":"helper","stakeout.delegate.scopes":["crm:read"]}`
}

func TestFullEvent(t *testing.T) {
	want, line := full()
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("the full event lacks %s", v.Type().Field(i).Name)
		}
	}
	if got := string(want.AppendJSON(nil)); got != line {
		t.Errorf("AppendJSON (-want +got):\n%s", cmp.Diff(line, got))
	}
	var got Event
	var d Decoder
	if err := d.Decode([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" || d.Unknown() != 0 {
		t.Errorf("Decode: %d unknown; (-want +got):\n%s", d.Unknown(), diff)
	}
}

func TestDecode(t *testing.T) {
	at := At(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	f := func(more string, want Event, unknown int) {
		t.Helper()
		want.Time, want.Name, want.Agent = at, ToolCall, "a1"
		var d Decoder
		got := Event{Tool: "left over", Chain: []string{"left over"}}
		if err := d.Decode([]byte(head+more), &got); err != nil {
			t.Errorf("Decode(%s): %v", more, err)
		} else if diff := cmp.Diff(want, got); diff != "" || d.Unknown() != unknown {
			t.Errorf("Decode(%s): %d unknown, want %d; (-want +got):\n%s", more, d.Unknown(), unknown, diff)
		}
	}
	f("}", Event{}, 0)
	f(" \t\r\n} \r\n", Event{}, 0)
	f(` , "user.id" : "u" }`, Event{User: "u"}, 0)

	// null, empty strings and empty lists are absent.
	f(`,"user.id":null,"stakeout.seq":null,"stakeout.chain":null,"stakeout.arg.hashes":null,"stakeout.effect":null,"stakeout.credential.expires":null}`, Event{}, 0)
	f(`,"user.id":"","stakeout.chain":[],"stakeout.arg.hashes":{ },"stakeout.effect":"","stakeout.intents":[ ],"stakeout.credential.expires":""}`, Event{}, 0)
	f(`,"stakeout.arg.origins":{"a":null,"b":"user"},"stakeout.arg.hashes":{"a":null}}`, Event{ArgOrigins: Object[Origin]{{"b", FromUser}}}, 0)
	f(`,"stakeout.credential.expires":"1970-01-01T00:00:00Z"}`, Event{}, 0)

	// Fields that are not ours are skipped, whatever they hold, and counted.
	f(`,"prompt":"secret \u00e9\\","x":[1,{"y":[true,false,null,-1.5e+3,"\ud83d\ude00"]},[]],"":{}}`, Event{}, 3)
	f(`,"time ":"x","Time":1,"TIME":[]}`, Event{}, 3)
	f(`,"x":1,"x":2}`, Event{}, 2)
	f(`,"x":`+strings.Repeat("[", 32)+strings.Repeat("]", 32)+"}", Event{}, 1)
	f(`,"x":"`+strings.Repeat("y", 100_000)+`"}`, Event{}, 1)

	// So are values that an enumeration does not know.
	f(`,"stakeout.effect":"delegate","stakeout.trust":"semi","stakeout.origin":"x","stakeout.sensitivity":"top"}`, Event{}, 4)
	f(`,"stakeout.intents":["send","dance","money"]}`, Event{Intents: []Effect{Send, Money}}, 1)
	f(`,"stakeout.intents":["dance"]}`, Event{}, 1)
	f(`,"stakeout.arg.origins":{"a":"x","b":"memory"}}`, Event{ArgOrigins: Object[Origin]{{"b", FromMemory}}}, 1)
	f(`,"stakeout.effect":"exec","stakeout.intents":["exec","execute"]}`, Event{Effect: Execute, Intents: []Effect{Execute, Execute}}, 0)

	// Strings.
	f(`,"user.id":"\u007a\u006f\u00eb \ud83d\ude00 \"\\\/\b\f\n\r\t\u0000"}`, Event{User: "zoë 😀 \"\\/\b\f\n\r\t\x00"}, 0)
	f(`,"user.id":"zoë 😀 `+"\x7f"+`"}`, Event{User: "zoë 😀 \x7f"}, 0)
	f(`,"user\u002eid":"u\u002e1"}`, Event{User: "u.1"}, 0)
	f(`,"user.id":"`+strings.Repeat(`\u0041`, MaxString)+`"}`, Event{User: strings.Repeat("A", MaxString)}, 0)
	f(`,"stakeout.arg.sources":{"":"a","\u0062":"\u0062"}}`, Event{ArgSources: Object[string]{{"", "a"}, {"b", "b"}}}, 0)

	// Numbers.
	f(`,"stakeout.seq":0}`, Event{Seq: Some[int64](0)}, 0)
	f(`,"stakeout.seq":-0}`, Event{Seq: Some[int64](0)}, 0)
	f(`,"stakeout.seq": 7 }`, Event{Seq: Some[int64](7)}, 0)
	f(`,"stakeout.seq":7.0}`, Event{Seq: Some[int64](7)}, 0)
	f(`,"stakeout.seq":1e3}`, Event{Seq: Some[int64](1000)}, 0)
	f(`,"stakeout.seq":999999999999999999}`, Event{Seq: Some[int64](999999999999999999)}, 0)
	f(`,"stakeout.seq":9223372036854775807}`, Event{Seq: Some[int64](9223372036854775807)}, 0)
	f(`,"stakeout.cost":0,"stakeout.duration":-0.0}`, Event{Cost: Some(0.0), Duration: Some(0.0)}, 0)
	f(`,"stakeout.cost":1E-7,"stakeout.duration":12.5e+2}`, Event{Cost: Some(1e-7), Duration: Some(1250.0)}, 0)
	f(`,"stakeout.cost":1e-400}`, Event{Cost: Some(0.0)}, 0)

	f(`,"stakeout.credential.expires":1772442000000000000}`, Event{CredentialExpires: at + Timestamp(time.Hour)}, 0)
}

func TestDecodeRefuses(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		var d Decoder
		ev := Event{Tool: "left over"}
		err := d.Decode([]byte(line), &ev)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("Decode(%.200s) = %v, want an *Error", line, err)
			return
		}
		if got := err.Error(); got != "event: "+want {
			t.Errorf("Decode(%.200s):\n got %s\nwant event: %s", line, got, want)
		}
		if diff := cmp.Diff(Event{}, ev); diff != "" {
			t.Errorf("Decode(%.200s) left behind:\n%s", line, diff)
		}
	}
	// at fills in the byte where the part of the line behind head begins that follows the mark ^.
	at := func(more, want string) {
		t.Helper()
		before, after, ok := strings.Cut(more, "^")
		if !ok {
			t.Fatalf("%s has no mark", more)
		}
		f(head+before+after, fmt.Sprintf(want, len(head)+len(before)))
	}

	// The line as a whole.
	f("", "line: at byte 0: the line ends too soon, want one JSON object")
	f(" \n", "line: at byte 2: the line ends too soon, want one JSON object")
	f("7", "line: at byte 0: is a number, want one JSON object")
	f(`"x"`, "line: at byte 0: is a string, want one JSON object")
	f("[]", "line: at byte 0: is a list, want one JSON object")
	f("null", "line: at byte 0: is null, want one JSON object")
	f("not JSON", "line: at byte 0: is not JSON, want one JSON object")
	f("true", "line: at byte 0: is a boolean, want one JSON object")
	f("\x00\x01", "line: at byte 0: is not JSON, want one JSON object")
	f("\xef\xbb\xbf{}", "line: at byte 0: is not JSON, want one JSON object")
	f("{"+strings.Repeat(" ", MaxLine)+"}", "line: has 262146 bytes, want 262144 at most")
	at("} ^x", "line: at byte %d: goes on behind the object, want one object on a line")
	at("}^{}", "line: at byte %d: goes on behind the object, want one object on a line")
	at("^", "line: at byte %d: the line ends too soon, want a comma or }")
	at(`^"`, "line: at byte %d: the JSON is broken here, want a comma or }")
	at(",^}", "line: at byte %d: is not JSON, want a member's name in quotes")
	at(",^1:2}", "line: at byte %d: is a number, want a member's name in quotes")
	at(",^", "line: at byte %d: the line ends too soon, want a member's name in quotes")
	at(`,"x"^`, "line: at byte %d: the line ends too soon, want a colon")
	at(`,"x" ^1}`, "line: at byte %d: the JSON is broken here, want a colon")
	at(`,"x":^`, "line: at byte %d: the line ends too soon, want a value")
	at(`,"x":^}`, "line: at byte %d: is not JSON, want a value")
	at(`,"x":^NaN}`, "line: at byte %d: is not JSON, want a value")
	at(`,"x":^tru}`, "line: at byte %d: is not JSON, want true")
	at(`,"x":^fals`, "line: at byte %d: is not JSON, want false")
	at(`,"x":^nul}`, "line: at byte %d: is not JSON, want null")
	at(`,"x":[1,^]}`, "line: at byte %d: is not JSON, want a value")
	at(`,"x":[1^}`, "line: at byte %d: the JSON is broken here, want a comma or ]")
	at(`,"x":{"y"^`, "line: at byte %d: the line ends too soon, want a colon")
	at(`,"x":{^1:2}}`, "line: at byte %d: is a number, want a member's name in quotes")
	at(`,"x":`+strings.Repeat("[", 32)+"^"+strings.Repeat("[", 200), "line: at byte %d: is nested too deep, want 32 levels at most")

	// Required fields.
	f(`{}`, "time: is missing, want it in every event")
	f(`{"event.name":"tool.call","gen_ai.agent.id":"a"}`, "time: is missing, want it in every event")
	f(`{"time":"2026-03-02T08:00:00Z","gen_ai.agent.id":"a"}`, "event.name: is missing, want it in every event")
	f(`{"time":"2026-03-02T08:00:00Z","event.name":"tool.call"}`, "gen_ai.agent.id: is missing, want it in every event")
	f(`{"time":null,"event.name":"tool.call","gen_ai.agent.id":"a"}`, "time: is missing, want it in every event")
	f(`{"gen_ai.agent.id":""}`, "gen_ai.agent.id: at byte 19: is empty, want the id of the acting agent")
	f(`{"gen_ai.agent.id":17}`, "gen_ai.agent.id: at byte 19: is a number, want a string")
	f(`{"event.name":"tool.cal"}`, "event.name: at byte 14: is no event name, want one of session.start, session.end, user.message, model.call, "+
		"tool.call, tool.result, agent.message, memory.read, memory.write, memory.delete, delegation, credential.issue, credential.use, "+
		"tool.definition, config.change, heartbeat")
	f(`{"event.name":""}`, "event.name: at byte 14: is no event name, want one of "+join(Names()))
	at(`,^"time":1772442000000000000}`, "time: at byte %d: stands twice, want it once")
	at(`,"user.id":null,^"user.id":"u"}`, "user.id: at byte %d: stands twice, want it once")

	// Types.
	at(`,"stakeout.seq":^"7"}`, "stakeout.seq: at byte %d: is a string, want an integer")
	at(`,"stakeout.seq":^true}`, "stakeout.seq: at byte %d: is a boolean, want an integer")
	at(`,"stakeout.seq":^NaN}`, "stakeout.seq: at byte %d: is not JSON, want an integer")
	at(`,"stakeout.seq":^nil}`, "stakeout.seq: at byte %d: is not JSON, want null")
	at(`,"stakeout.seq":^`, "stakeout.seq: at byte %d: the line ends too soon, want an integer")
	at(`,"stakeout.cost":^"0.1"}`, "stakeout.cost: at byte %d: is a string, want a number")
	at(`,"stakeout.cost":^NaN}`, "stakeout.cost: at byte %d: is not JSON, want a number")
	at(`,"stakeout.cost":^Infinity}`, "stakeout.cost: at byte %d: is not JSON, want a number")
	at(`,"user.id":^["u"]}`, "user.id: at byte %d: is a list, want a string")
	at(`,"user.id":^{}}`, "user.id: at byte %d: is an object, want a string")
	at(`,"stakeout.effect":^1}`, "stakeout.effect: at byte %d: is a number, want a string")
	at(`,"stakeout.chain":^"u"}`, "stakeout.chain: at byte %d: is a string, want a list")
	at(`,"stakeout.chain":["u",^7]}`, "stakeout.chain: at byte %d: is a number, want a string")
	at(`,"stakeout.chain":[^null]}`, "stakeout.chain: at byte %d: is null, want a string")
	at(`,"stakeout.chain":["u",^]}`, "stakeout.chain: at byte %d: is not JSON, want a string")
	at(`,"stakeout.chain":["u"^`, "stakeout.chain: at byte %d: the line ends too soon, want a comma or ]")
	at(`,"stakeout.intents":[^1]}`, "stakeout.intents: at byte %d: is a number, want a string")
	at(`,"stakeout.arg.origins":^[]}`, "stakeout.arg.origins: at byte %d: is a list, want an object")
	at(`,"stakeout.arg.origins":{"a":^1}}`, "stakeout.arg.origins: at byte %d: is a number, want a string")
	at(`,"stakeout.arg.hashes":{"a":^"aa"}}`, "stakeout.arg.hashes: at byte %d: is a string, want a list")
	at(`,"stakeout.arg.sources":{"a":"x","a":"y"^}}`, "stakeout.arg.sources: at byte %d: has a member twice before this byte, want it once")
	at(`,"stakeout.arg.sources":{"a":"x",^}}`, "stakeout.arg.sources: at byte %d: is not JSON, want a member's name in quotes")

	// Strings.
	at(`,"user.id":"abc^`, "user.id: at byte %d: the line ends too soon, want the closing quote of a string")
	at(`,"user.id":"abcdefghij^`+"\n"+`"}`, "user.id: at byte %d: has a bare control character in a string, want it escaped")
	at(`,"user.id":"`+"zo\u00eb^\xff\"}", "user.id: at byte %d: is not valid UTF-8 here, want UTF-8")
	at(`,"user.id":"^`+"\xed\xa0\x80\"}", "user.id: at byte %d: is not valid UTF-8 here, want UTF-8") // a surrogate, encoded
	at(`,"user.id":"^\ud83d"}`, "user.id: at byte %d: has half a surrogate pair, want both halves")
	at(`,"user.id":"^\ud83d\u0041"}`, "user.id: at byte %d: has half a surrogate pair, want both halves")
	at(`,"user.id":"^\ude00\ud83d"}`, "user.id: at byte %d: has half a surrogate pair, want both halves")
	at(`,"user.id":"^\u12g4"}`, `user.id: at byte %d: has a broken escape sequence, want \u and four hexadecimal digits`)
	at(`,"user.id":"^\u12`, `user.id: at byte %d: has a broken escape sequence, want \u and four hexadecimal digits`)
	at(`,"user.id":"^\x41"}`, `user.id: at byte %d: has an unknown escape sequence, want one of \" \\ \/ \b \f \n \r \t \u`)
	at(`,"user.id":"\^`, "user.id: at byte %d: the line ends too soon, want the rest of an escape sequence")
	at(`,"x":"^\x41"}`, `line: at byte %d: has an unknown escape sequence, want one of \" \\ \/ \b \f \n \r \t \u`)
	at(`,"x^`+"\x01"+`":1}`, `line: at byte %d: has a bare control character in a string, want it escaped`)
	long := strings.Repeat("é", MaxString/2) + "e"
	at(`,"user.id":^"`+long+`"}`, "user.id: at byte %d: is a string of 1025 bytes, want 1024 at most")
	at(`,"stakeout.chain":[^"`+long+`"]}`, "stakeout.chain: at byte %d: is a string of 1025 bytes, want 1024 at most")
	at(`,"stakeout.arg.sources":{^"`+long+`":"t"}}`, "stakeout.arg.sources: at byte %d: has a member with a name of 1025 bytes, want 1024 at most")
	at(`,"stakeout.chain":[`+strings.Repeat(`"u",`, MaxItems)+`^"u"]}`, "stakeout.chain: at byte %d: has too many items, want 1024 at most")
	at(`,"stakeout.arg.origins":{`+strings.Repeat(`"u":null,`, MaxItems)+`^"u":"user"}}`, "stakeout.arg.origins: at byte %d: has too many members, want 1024 at most")

	// Numbers.
	at(`,"stakeout.bytes":^-1}`, "stakeout.bytes: at byte %d: is negative, want 0 or more")
	at(`,"stakeout.bytes":^-1.5}`, "stakeout.bytes: at byte %d: is negative, want 0 or more")
	at(`,"gen_ai.usage.input_tokens":^-7}`, "gen_ai.usage.input_tokens: at byte %d: is negative, want 0 or more")
	at(`,"stakeout.duration":^-0.1}`, "stakeout.duration: at byte %d: is negative, want 0 or more")
	at(`,"stakeout.cost":^-1e-9}`, "stakeout.cost: at byte %d: is negative, want 0 or more")
	at(`,"stakeout.seq":^9223372036854775808}`, "stakeout.seq: at byte %d: is out of range, want an integer from 0 to 9223372036854775807")
	at(`,"stakeout.seq":^1e30}`, "stakeout.seq: at byte %d: is out of range, want an integer without point or exponent")
	at(`,"stakeout.seq":^1e999}`, "stakeout.seq: at byte %d: is out of range, want an integer without point or exponent")
	at(`,"stakeout.seq":^1.5}`, "stakeout.seq: at byte %d: has a fraction, want an integer")
	at(`,"stakeout.seq":^1e-9}`, "stakeout.seq: at byte %d: has a fraction, want an integer")
	at(`,"stakeout.cost":^1e400}`, "stakeout.cost: at byte %d: is out of range, want a number that a float64 holds")
	at(`,"stakeout.seq":^012}`, "stakeout.seq: at byte %d: is a number with a leading zero, want none")
	at(`,"stakeout.seq":-^}`, "stakeout.seq: at byte %d: is a broken number, want a digit here")
	at(`,"stakeout.cost":1.^}`, "stakeout.cost: at byte %d: is a broken number, want a digit after the point")
	at(`,"stakeout.cost":1e+^}`, "stakeout.cost: at byte %d: is a broken number, want a digit in the exponent")
	at(`,"stakeout.cost":1.^`, "stakeout.cost: at byte %d: the line ends too soon, want a digit")
	at(`,"stakeout.seq":1^x}`, "line: at byte %d: the JSON is broken here, want a comma or }")
	at(`,"stakeout.seq":1^`, "line: at byte %d: the line ends too soon, want a comma or }")
	at(`,"x":^00}`, "line: at byte %d: is a number with a leading zero, want none")

	// Times.
	const want = "want RFC 3339 such as 2006-01-02T15:04:05.999Z, or integer Unix nanoseconds"
	f(`{"time":true}`, "time: at byte 8: is a boolean, want a time: RFC 3339 in quotes, or integer Unix nanoseconds")
	f(`{"time":1772442000}`, "time: at byte 8: is a number too small for nanoseconds since 1970, "+want)
	f(`{"time":1772442000000}`, "time: at byte 8: is a number too small for nanoseconds since 1970, "+want)
	f(`{"time":-5}`, "time: at byte 8: is negative, want 0 or more")
	f(`{"time":1772442000.5}`, "time: at byte 8: has a fraction, want an integer")
	f(`{"time":"yesterday"}`, "time: at byte 8: is not a time from the years 1678 to 2262, "+want)
	f(`{"time":"2026-02-29T08:00:00Z"}`, "time: at byte 8: is not a time from the years 1678 to 2262, "+want)
	f(`{"time":"1600-01-01T00:00:00Z"}`, "time: at byte 8: is not a time from the years 1678 to 2262, "+want)
	f(`{"time":"1970-01-01T00:00:00Z"}`, "time: at byte 8: is the Unix epoch, want the time of the event")
	at(`,"stakeout.credential.expires":^1772442000}`, "stakeout.credential.expires: at byte %d: is a number too small for nanoseconds since 1970, "+want)
}

// An error must not carry any of the line into logs and rejects.
func TestErrorsQuoteNothing(t *testing.T) {
	const secret = "hunter2"
	for _, more := range []string{
		`,"` + secret + `":x}`, `,"user.id":"` + secret + `}`, `,"user.id":"` + secret + `\x"}`, `,` + secret + `}`, `,"stakeout.seq":"` + secret + `"}`,
		`,"stakeout.arg.sources":{"` + secret + `":"a","` + secret + `":"b"}}`, `,"stakeout.arg.origins":{"` + secret + `":7}}`, `}` + secret,
		`,"stakeout.credential.expires":"` + secret + `"}`, `,"` + secret + `":{"` + secret + `" 1}}`,
	} {
		err := new(Decoder).Decode([]byte(head+more), new(Event))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("Decode(%s) = %v, want an error without %s", more, err, secret)
		}
	}
	err := new(Decoder).Decode([]byte(`{"event.name":"`+secret+`"}`), new(Event))
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("an unknown event name: %v, want an error without it", err)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	_, line := full()
	lines := append(corpus(t), []byte(line))
	var d Decoder
	var ev Event
	if n := testing.AllocsPerRun(3, func() {
		for _, l := range lines {
			if err := d.Decode(l, &ev); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%d lines took %v allocations, want 0", len(lines), n)
	}
}

func TestUnmarshalJSONOwnsItsMemory(t *testing.T) {
	want, text := full()
	line := []byte(text)
	var got Event
	if err := got.UnmarshalJSON(line); err != nil {
		t.Fatal(err)
	}
	clear(line)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after the line changed (-want +got):\n%s", diff)
	}
}

func TestAppendJSONReplacesWhatIsNotUTF8(t *testing.T) {
	ev := Event{Time: 1e18, Name: Heartbeat, Agent: "a\xff\x80b\xc3", Cost: Opt[float64]{V: nan(), OK: true}}
	want := `{"time":"2001-09-09T01:46:40Z","event.name":"heartbeat","gen_ai.agent.id":"a` + "\ufffd\ufffdb\ufffd" + `"}`
	if got := string(ev.AppendJSON(nil)); got != want {
		t.Errorf("AppendJSON = %s, want %s", got, want)
	}
}

func nan() float64 { var zero float64; return zero / zero }

// Where a field that is not ours stood in the line before, a name is due as ever: nothing
// stands for one, and least of all a NUL, which is nowhere valid.
func TestNothingStandsForAName(t *testing.T) {
	var d Decoder
	var ev Event
	if err := d.Decode([]byte(head+`,"x":1}`), &ev); err != nil {
		t.Fatal(err)
	}
	for _, rest := range []string{",\x001}", ",\x00:1}", ",1}", ",:1}"} {
		line := []byte(head + rest)
		if err, want := d.Decode(line, &ev), new(Decoder).Decode(line, new(Event)); err == nil || err.Error() != want.Error() {
			t.Errorf("Decode(%q) = %v, want %v", line, err, want)
		}
	}
}
