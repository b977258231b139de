package store

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

const eventsTopic = "stakeout.events"

func recordOf(ev *event.Event, partition int, offset int64, at time.Time) stream.Record {
	src := event.Source{Topic: "stakeout.raw", Partition: 3, Offset: offset, Line: 2}
	return stream.Record{Topic: eventsTopic, Partition: partition, Offset: offset, Time: at, Key: []byte(ev.Agent), Value: ev.AppendJSON(nil),
		Headers: []stream.Header{{Key: "other"}, {Key: event.SourceHeader, Value: src.AppendBinary(nil)}}}
}

func eventRecord(t testing.TB, offset int64, agent string, at time.Time) stream.Record {
	t.Helper()
	ev := event.Event{Time: event.At(now.Add(time.Duration(offset))), Name: event.ToolCall, Agent: agent, ID: fmt.Sprintf("e%d", offset), Tool: "mail", Effect: event.Send,
		Session: "s1", ArgKeys: []string{"to", "body"}, ArgOrigins: event.Object[event.Origin]{{Key: "to", Value: event.FromUser}}, Bytes: event.Some(int64(100))}
	return recordOf(&ev, 0, offset, at)
}

// fullEvent has every field set.
func fullEvent(t *testing.T) *event.Event {
	t.Helper()
	line := `{"time":"2026-01-02T03:04:05.123456789Z","event.name":"tool.call","gen_ai.agent.id":"agent \"1\"\n","event.id":"e1","gen_ai.conversation.id":"s1",
		"stakeout.seq":7,"trace_id":"t","span_id":"sp","stakeout.tenant":"acme","gen_ai.agent.name":"clerk","gen_ai.agent.version":"1.2","gen_ai.request.model":"m1",
		"stakeout.agent.parent":"p","user.id":"u","stakeout.chain":["a","b"],"stakeout.principal.scopes":["ps"],"stakeout.credential.id":"c","stakeout.credential.issuer":"i",
		"stakeout.credential.subject":"su","stakeout.credential.scopes":["cs1","cs2"],"stakeout.credential.expires":"2026-01-03T00:00:00Z","gen_ai.tool.name":"mail",
		"gen_ai.tool.call.id":"call","stakeout.tool.hash":"0a","server.address":"srv","mcp.method.name":"tools/call","stakeout.effect":"send","stakeout.privilege":"mail:send",
		"stakeout.resource":"r","stakeout.sensitivity":"confidential","stakeout.destination":"d","stakeout.arg.keys":["to","body"],
		"stakeout.arg.origins":{"to":"user","body":"untrusted"},"stakeout.arg.sources":{"body":"fetch"},"stakeout.arg.hashes":{"to":["h1","h2"],"body":["h3"]},
		"stakeout.trust":"untrusted","stakeout.intents":["read","send"],"stakeout.origin":"tool","stakeout.hash":"0b","stakeout.simhash":"0c","gen_ai.memory.store.id":"ms",
		"gen_ai.memory.record.id":"mr","gen_ai.usage.input_tokens":11,"gen_ai.usage.output_tokens":12,"stakeout.cost":0.25,"stakeout.bytes":13,"stakeout.duration":1.5,
		"error.type":"timeout","stakeout.delegate":"del","stakeout.delegate.scopes":["ds"]}`
	var dec event.Decoder
	var ev event.Event
	if err := dec.Decode([]byte(line), &ev); err != nil {
		t.Fatal(err)
	}
	if n := dec.Unknown(); n > 0 {
		t.Fatalf("%d fields of the test's event are unknown", n)
	}
	for v, i := reflect.ValueOf(ev), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("the test's event lacks %s", v.Type().Field(i).Name)
		}
	}
	return &ev
}

// Every field of an event has its column, and every column is filled.
func TestEventColumns(t *testing.T) {
	s, _ := migrated(t)
	ev := fullEvent(t)
	storeAll(t, s.OpenEvents, recordOf(ev, 1, 41, now))

	if got, want := len(eventsTable().columns), reflect.TypeFor[event.Event]().NumField()+len([]string{"admitted", "ingested", "src_topic", "src_partition", "src_offset", "src_line"}); got != want {
		t.Errorf("the table has %d columns, want %d: one for each field of an event and where it is from", got, want)
	}
	const query = `SELECT time, name, agent, id, session, seq, chain, credential_scopes, credential_expires, effect, mapKeys(arg_origins), mapValues(arg_origins),
		arg_sources, arg_hashes, intents, cost, bytes, ingested, src_topic, src_partition, src_offset, src_line FROM events`
	var got struct {
		Time                     time.Time
		Name, Agent, ID, Session string
		Seq                      *int64
		Chain, Scopes            []string
		Expires                  *time.Time
		Effect                   string
		Args, Origins            []string
		Sources                  map[string]string
		Hashes                   map[string][]string
		Intents                  []string
		Cost                     *float64
		Bytes                    *int64
		Ingested                 time.Time
		Topic                    string
		Partition                uint32
		Offset                   uint64
		Line                     uint32
	}
	want := got
	if err := s.conn.QueryRow(t.Context(), query).Scan(&got.Time, &got.Name, &got.Agent, &got.ID, &got.Session, &got.Seq, &got.Chain, &got.Scopes, &got.Expires, &got.Effect,
		&got.Args, &got.Origins, &got.Sources, &got.Hashes, &got.Intents, &got.Cost, &got.Bytes, &got.Ingested, &got.Topic, &got.Partition, &got.Offset, &got.Line); err != nil {
		t.Fatal(err)
	}
	want.Time, want.Name, want.Agent, want.ID, want.Session = ev.Time.Time(), "tool.call", "agent \"1\"\n", "e1", "s1"
	want.Seq, want.Chain, want.Scopes = &ev.Seq.V, ev.Chain, ev.CredentialScopes
	expires := ev.CredentialExpires.Time()
	want.Expires, want.Effect = &expires, "send"
	want.Args, want.Origins = []string{"to", "body"}, []string{"user", "untrusted"}
	want.Sources, want.Hashes = map[string]string{"body": "fetch"}, map[string][]string{"to": {"h1", "h2"}, "body": {"h3"}}
	want.Intents, want.Cost, want.Bytes = []string{"read", "send"}, &ev.Cost.V, &ev.Bytes.V
	want.Ingested, want.Topic, want.Partition, want.Offset, want.Line = now, "stakeout.raw", 3, 41, 2
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the event came back otherwise (-want +got):\n%s", diff)
	}

	for _, c := range eventsTable().columns {
		var filled bool
		if err := s.conn.QueryRow(t.Context(), "SELECT isNotNull("+c.name+") AND toString(assumeNotNull("+c.name+")) NOT IN ('', '[]', '{}', '0') FROM events").Scan(&filled); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !filled {
			t.Errorf("column %s is empty", c.name)
		}
	}
}

// What is missing in an event is missing in its row, and the row takes its memory with it.
func TestEventRow(t *testing.T) {
	var d eventDecoder
	line := []byte(`{"time":"2026-01-02T03:04:05Z","event.name":"heartbeat","gen_ai.agent.id":"a\tb"}`)
	row, size, err := d.decode(&stream.Record{Topic: eventsTopic, Partition: 4, Offset: 9, Time: now, Value: line})
	if err != nil {
		t.Fatal(err)
	}
	clear(line)
	if _, _, err := d.decode(&stream.Record{Value: []byte(`{"time":"2026-01-02T03:04:05Z","event.name":"tool.call","gen_ai.agent.id":"xxx\t"}`)}); err != nil {
		t.Fatal(err)
	}
	if row.Agent != "a\tb" || row.Name != event.Heartbeat || row.ID != "stakeout.events/4/9" || row.Seq.OK || size < 100 {
		t.Errorf("row = %+v of %d bytes", row, size)
	}
	for _, r := range []stream.Record{{}, {Value: []byte("{}")}, {Value: line}} {
		if _, _, err := d.decode(&r); err == nil {
			t.Errorf("decode(%q): no error", r.Value)
		}
	}
	bad := eventRecord(t, 1, "a", now)
	bad.Headers = []stream.Header{{Key: event.SourceHeader, Value: []byte{0xff}}}
	if _, _, err := d.decode(&bad); err == nil {
		t.Error("decode with a bad source: no error")
	}
}

func TestReplayedEvents(t *testing.T) {
	s, _ := migrated(t)
	var records []stream.Record
	for i := range int64(1000) {
		records = append(records, eventRecord(t, i, fmt.Sprint("agent", i%7), now))
	}
	storeAll(t, s.OpenEvents, records...)
	storeAll(t, s.OpenEvents, records[300:]...)
	storeAll(t, s.OpenEvents, records...)
	if got := counts(t, s).Events; got != 1000 {
		t.Errorf("%d events, want 1000", got)
	}
	s.mustExec(t, "OPTIMIZE TABLE events FINAL")
	var physical, partitions uint64
	if err := s.conn.QueryRow(t.Context(), "SELECT count(), uniqExact(_partition_id) FROM events").Scan(&physical, &partitions); err != nil {
		t.Fatal(err)
	}
	if physical != 1000 || partitions != 1 {
		t.Errorf("%d rows in %d partitions after merging, want 1000 in 1", physical, partitions)
	}
}
