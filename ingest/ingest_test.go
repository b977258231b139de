package ingest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/ingest"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// call is an event of an agent; more continues the object.
func call(agent, more string) string {
	return `{"time":"2026-03-02T11:59:59.5Z","event.name":"tool.call","gen_ai.agent.id":"` + agent + `"` + more + `}`
}

// withID is what becomes of it where ingest supplies the id.
func withID(agent, id, more string) string {
	return call(agent, `,"event.id":"`+id+`"`+more)
}

func sum(line string) string {
	h := sha256.Sum256([]byte(line))
	return hex.EncodeToString(h[:8])
}

func TestRawToEventsAndRejects(t *testing.T) {
	c := start(t, nil)
	big := call("a", `,"prompt":"`+strings.Repeat("x", 900_000)+`"`)
	binary := "\x00\x01\xff\xfe\x80GIF89a\n\x00\x00"
	cutOff := call("a", "")[:60]
	pretty := "{\n  \"time\": \"2026-03-02T12:00:00Z\",\n  \"event.name\": \"heartbeat\",\n  \"gen_ai.agent.id\": \"b\"\n}\n"
	noAgent := `{"time":"2026-03-02T11:59:59.5Z","event.name":"tool.call"}`
	old := `{"time":"1970-01-02T00:00:00Z","event.name":"tool.call","gen_ai.agent.id":"a"}`
	future := `{"time":"2100-01-01T00:00:00Z","event.name":"tool.call","gen_ai.agent.id":"a"}`
	zero := []raw{
		{noon, call("a", "")},                                   // 0
		{noon.Add(1 * time.Second), call("b", "") + "\r\n"},     // 1
		{noon.Add(2 * time.Second), call("a", `,"x":"hidden"`)}, // 2
		{noon.Add(3 * time.Second), call("c", `,"event.id":"theirs"`)},
		{noon.Add(4 * time.Second), cutOff}, // 4
		{noon.Add(5 * time.Second), call("a", `,"stakeout.seq":"7"`)},
		{noon.Add(6 * time.Second), big}, // 6
		{noon.Add(7 * time.Second), binary},
		{noon.Add(8 * time.Second), noAgent}, // 8
		{noon.Add(9 * time.Second), old},
		{noon.Add(10 * time.Second), future}, // 10
		{noon.Add(11 * time.Second), "\n" + call("a", "") + "\r\n\n" + noAgent + "\n" + call("b", "") + "\n"},
		{noon.Add(12 * time.Second), ""}, // 12
		{noon.Add(13 * time.Second), " \n\n"},
		{noon.Add(14 * time.Second), pretty}, // 14
		{noon.Add(15 * time.Second), call("a", "") + "\n" + cutOff},
	}
	one := []raw{{noon, call("a", `,"stakeout.effect":"dance","stakeout.trust":"trusted"`)}}
	c.write(0, zero...)
	c.write(1, one...)

	reg := prometheus.NewRegistry()
	in := ingest.New(ingest.DefaultConfig(), c.client, reg, c.log)
	c.run(in, 10, 8)

	src := func(partition int, offset int64, line int) event.Source {
		return event.Source{Topic: "stakeout.raw", Partition: partition, Offset: offset, Line: line}
	}
	at := func(offset int) time.Time { return zero[offset].at }
	ahead := src(0, 10, 0)
	ahead.Ahead = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Sub(at(10))
	wantEvents := []out{
		{"a", withID("a", "stakeout.raw/0/0", ""), src(0, 0, 0), at(0)},
		{"b", withID("b", "stakeout.raw/0/1", ""), src(0, 1, 0), at(1)},
		{"a", withID("a", "stakeout.raw/0/2", ""), src(0, 2, 0), at(2)},
		{"c", call("c", `,"event.id":"theirs"`), src(0, 3, 0), at(3)},
		{"a", `{"time":"2026-03-02T12:00:10Z","event.name":"tool.call","gen_ai.agent.id":"a","event.id":"stakeout.raw/0/10"}`, ahead, at(10)},
		{"a", withID("a", "stakeout.raw/0/11/2", ""), src(0, 11, 2), at(11)},
		{"b", withID("b", "stakeout.raw/0/11/5", ""), src(0, 11, 5), at(11)},
		{"b", `{"time":"2026-03-02T12:00:00Z","event.name":"heartbeat","gen_ai.agent.id":"b","event.id":"stakeout.raw/0/14"}`, src(0, 14, 0), at(14)},
		{"a", withID("a", "stakeout.raw/0/15/1", ""), src(0, 15, 1), at(15)},
		{"a", withID("a", "stakeout.raw/1/0", `,"stakeout.trust":"trusted"`), src(1, 0, 0), noon},
	}
	got := c.events()
	inRawOrder(t, got)
	slices.SortFunc(got, func(a, b out) int { return a.Source.Compare(b.Source) })
	if diff := cmp.Diff(wantEvents, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}

	no := func(offset int64, line int, text, field string, position int, reason string) ingest.Reject {
		return ingest.Reject{Topic: "stakeout.raw", Offset: offset, Line: line, Time: at(int(offset)),
			Field: field, Position: position, Reason: reason, Size: len(text), SHA256: sum(text)}
	}
	wantRejects := []ingest.Reject{
		no(4, 0, cutOff, "line", 60, "the line ends too soon, want the closing quote of a string"),
		no(5, 0, zero[5].value, "stakeout.seq", 95, "is a string, want an integer"),
		no(6, 0, big, "line", -1, fmt.Sprintf("has %d bytes, want 262144 at most", len(big))),
		no(7, 0, binary, "line", 0, "is not JSON, want one JSON object"),
		no(8, 0, noAgent, "gen_ai.agent.id", -1, "is missing, want it in every event"),
		no(9, 0, old, "time", -1, "is before the year 2000, want the time of the event"),
		no(11, 4, noAgent, "gen_ai.agent.id", -1, "is missing, want it in every event"),
		no(15, 2, cutOff, "line", 60, "the line ends too soon, want the closing quote of a string"),
	}
	if diff := cmp.Diff(wantRejects, c.rejects()); diff != "" {
		t.Errorf("rejects (-want +got):\n%s", diff)
	}

	f := func(name string, want float64) {
		t.Helper()
		if got := metric(t, reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	f("stakeout_ingest_records_total", 17)
	f("stakeout_ingest_events_total", 10)
	f("stakeout_ingest_rejects_total", 8)
	f("stakeout_ingest_empty_lines_total", 4)
	f("stakeout_ingest_skew_total", 1)
	f("stakeout_ingest_unknown_fields_total", 2)
	f("stakeout_ingest_panics_total", 0)
}

// TestALineShippedTwiceIsOneEvent has a shipper send a numbered line again, which is
// known by its id, and one without a number, which may be another event.
func TestALineShippedTwiceIsOneEvent(t *testing.T) {
	c := start(t, nil)
	numbered, plain := call("a", `,"gen_ai.conversation.id":"s","stakeout.seq":7`), call("a", "")
	c.write(0, raw{noon, numbered}, raw{noon, plain})
	c.write(1, raw{noon, numbered}, raw{noon, plain})
	c.run(ingest.New(ingest.DefaultConfig(), c.client, prometheus.NewRegistry(), c.log), 4, 0)
	ids := map[string]int{}
	for _, e := range c.events() {
		var ev struct {
			ID string `json:"event.id"`
		}
		if err := json.Unmarshal([]byte(e.Value), &ev); err != nil {
			t.Fatal(err)
		}
		ids[ev.ID]++
	}
	if len(ids) != 3 || ids["stakeout.raw/0/1"] != 1 || ids["stakeout.raw/1/1"] != 1 {
		t.Errorf("ids %v, want one of two events, and each of the others its place", ids)
	}
}

// inRawOrder checks that the events of a raw partition stand in its order within each partition they were written to.
func inRawOrder(t *testing.T, events []out) {
	t.Helper()
	last := map[string]event.Source{} // an agent is in one partition
	for _, o := range events {
		k := fmt.Sprint(o.Key, o.Source.Partition)
		if before, ok := last[k]; ok && before.Compare(o.Source) >= 0 {
			t.Errorf("%v comes behind %v", o.Source, before)
		}
		last[k] = o.Source
	}
}

// metric adds up the series of a counter.
func metric(t *testing.T, reg *prometheus.Registry, name string) (v float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				v += m.GetCounter().GetValue()
			}
		}
	}
	return v
}

// Whoever ingests a raw partition again writes the same bytes with the same sources and times.
func TestReplayIsTheSame(t *testing.T) {
	c := start(t, nil)
	var records []raw
	for i := range 300 {
		records = append(records, raw{noon.Add(time.Duration(i) * time.Millisecond), call(fmt.Sprint("agent-", i%7), fmt.Sprintf(`,"stakeout.seq":%d`, i))})
	}
	records = append(records, raw{noon, `{"time":"2100-01-01T00:00:00Z","event.name":"tool.call","gen_ai.agent.id":"a"}`}, raw{noon, "no"})
	c.write(0, records...)
	c.run(ingest.New(ingest.DefaultConfig(), c.client, prometheus.NewRegistry(), c.log), 301, 1)
	again := ingest.DefaultConfig()
	again.Group = "again"
	c.run(ingest.New(again, c.client, prometheus.NewRegistry(), c.log), 602, 2)

	events := c.events()
	slices.SortStableFunc(events, func(a, b out) int { return a.Source.Compare(b.Source) })
	for i := 0; i < len(events); i += 2 {
		if diff := cmp.Diff(events[i], events[i+1]); diff != "" {
			t.Fatalf("the second run differs (-first +second):\n%s", diff)
		}
	}
	rejects := c.rejects()
	if diff := cmp.Diff(rejects[0], rejects[1]); diff != "" {
		t.Errorf("the second reject differs (-first +second):\n%s", diff)
	}
}

// A restart goes on where the last run committed: nothing is read twice.
func TestRestartGoesOn(t *testing.T) {
	c := start(t, nil)
	c.write(0, raw{noon, call("a", "")})
	c.run(ingest.New(ingest.DefaultConfig(), c.client, prometheus.NewRegistry(), c.log), 1, 0)
	c.write(0, raw{noon, call("b", "")})
	reg := prometheus.NewRegistry()
	c.run(ingest.New(ingest.DefaultConfig(), c.client, reg, c.log), 2, 0)
	if got := metric(t, reg, "stakeout_ingest_records_total"); got != 1 {
		t.Errorf("the second run read %v records, want the 1 that came after the first run", got)
	}
}

func TestPanicIsARejectAndThePartitionGoesOn(t *testing.T) {
	c := start(t, nil)
	c.write(0, raw{noon, call("a", "")}, raw{noon, call("poison", "")}, raw{noon, call("c", "")})
	reg := prometheus.NewRegistry()
	in := ingest.New(ingest.DefaultConfig(), c.client, reg, c.log)
	in.SetDecode(func(d *event.Decoder, line []byte, ev *event.Event) error {
		err := d.Decode(line, ev)
		if ev.Agent == "poison" {
			panic("index out of " + strings.Repeat("range ", 100))
		}
		return err
	})
	c.run(in, 2, 1)
	got := c.rejects()[0]
	if !strings.Contains(got.Stack, "ingest_test.go") || len(got.Stack) > 4096 {
		t.Errorf("the stack has %d bytes: %s", len(got.Stack), got.Stack)
	}
	want := ingest.Reject{Topic: "stakeout.raw", Offset: 1, Time: noon, Field: "line", Position: -1, Size: len(call("poison", "")), SHA256: sum(call("poison", ""))}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(ingest.Reject{}, "Stack", "Reason")); diff != "" {
		t.Errorf("the reject (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(got.Reason, "panic: index out of range") || len(got.Reason) > 300 {
		t.Errorf("the reason is %q", got.Reason)
	}
	if n := metric(t, reg, "stakeout_ingest_panics_total"); n != 1 {
		t.Errorf("%v panics counted, want 1", n)
	}
}

// A record full of garbage lines must not flood the rejects topic.
func TestRejectsOfOneRecordAreBounded(t *testing.T) {
	c := start(t, nil)
	c.write(0, raw{noon, strings.Repeat("{}\n", 5000) + call("a", "")})
	reg := prometheus.NewRegistry()
	c.run(ingest.New(ingest.DefaultConfig(), c.client, reg, c.log), 1, 101)
	want := ingest.Reject{
		Topic: "stakeout.raw", Time: noon, Field: "line", Position: -1, Size: 2 * 4900, Lines: 4900,
		Reason: "4900 more lines of this record are no events, want one JSON object on each line",
	}
	if diff := cmp.Diff(want, c.rejects()[100]); diff != "" {
		t.Errorf("the last reject (-want +got):\n%s", diff)
	}
	if n := metric(t, reg, "stakeout_ingest_rejects_total"); n != 5000 {
		t.Errorf("%v rejects counted, want 5000", n)
	}
}

// An event that its topic does not take becomes a reject; the others go through.
func TestEventTooLargeForItsTopic(t *testing.T) {
	c := start(t, func(cfg *stream.Config) { cfg.ProduceMaxBytes, cfg.Compression = 2048, "none" })
	big := call("big", `,"user.id":"`+strings.Repeat("u", 1000)+`","error.type":"`+strings.Repeat("e", 1000)+`"`)
	reg := prometheus.NewRegistry()
	in := ingest.New(ingest.DefaultConfig(), c.client, reg, c.log)
	in.SetNow(func() time.Time { return noon })
	p, err := in.Open(t.Context(), stream.Owned{Topic: "stakeout.raw"})
	if err != nil {
		t.Fatal(err)
	}
	record := func(offset int64, value string) stream.Record {
		return stream.Record{Topic: "stakeout.raw", Offset: offset, Time: noon, Value: []byte(value)}
	}
	if err := p.Process(t.Context(), []stream.Record{record(0, call("a", "")), record(1, call("a", "")+"\n"+big), record(2, call("a", ""))}); err != nil {
		t.Fatal(err)
	}
	if got := c.events(); len(got) != 3 {
		t.Errorf("%d events, want the 3 small ones", len(got))
	}
	got := c.rejects()
	if len(got) != 1 || got[0].Offset != 1 || got[0].Line != 2 || !got[0].Time.Equal(noon) || !strings.Contains(got[0].Reason, "larger than topic stakeout.events takes") {
		t.Errorf("rejects %+v, want one that names the topic and the line", got)
	}
	if e, r := metric(t, reg, "stakeout_ingest_events_total"), metric(t, reg, "stakeout_ingest_rejects_total"); e != 3 || r != 1 {
		t.Errorf("counted %v events and %v rejects, want 3 and 1", e, r)
	}
}
