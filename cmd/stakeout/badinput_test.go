package main_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// bad is a line that is no event, and what has to be said of it.
type bad struct {
	name, line string
	field      string
	position   int
	reason     string // a part of it
}

func badLines() []bad {
	object := func(members string) string {
		return `{"time":"2026-01-05T09:00:00Z","event.name":"heartbeat"` + members + `}`
	}
	return []bad{
		{"truncated in a string", `{"time":"2026-01-05T09:00:00Z","event.name":"heart`, "event.name", 50, "ends too soon"},
		{"truncated between members", `{"time":"2026-01-05T09:00:00Z",`, "line", 31, "ends"},
		{"agent is a number", object(`,"gen_ai.agent.id":5`), "gen_ai.agent.id", 74, "want a string"},
		{"no agent", object(""), "gen_ai.agent.id", -1, "missing"},
		{"1970", `{"time":"1970-06-01T00:00:00Z","event.name":"heartbeat","gen_ai.agent.id":"a"}`, "time", -1, "2000"},
		{"seconds instead of nanoseconds", `{"time":1767603600,"event.name":"heartbeat","gen_ai.agent.id":"a"}`, "time", 8, "nanoseconds"},
		{"a megabyte", object(`,"gen_ai.agent.id":"a","content":"` + strings.Repeat("x", 1<<20) + `"`), "line", -1, "bytes"},
		{"all that ship sends", object(`,"gen_ai.agent.id":"a","content":"` + strings.Repeat("y", 4<<20-65<<10) + `"`), "line", -1, "bytes"},
		{"garbage", "\x00\x01\x80\xfe\xff\x1f\x8b{}", "line", 0, "one JSON object"},
		{"no UTF-8", object(",\"gen_ai.agent.id\":\"\xff\xfe\""), "gen_ai.agent.id", 75, "UTF-8"},
		{"deep", strings.Repeat("[", 10_000), "line", 0, "one JSON object"},
		{"deep within", object(`,"gen_ai.agent.id":"a","x":` + strings.Repeat("[", 10_000)), "line", 114, "deep"},
		{"twice the same field", object(`,"gen_ai.agent.id":"a","gen_ai.agent.id":"b"`), "gen_ai.agent.id", 78, "twice"},
		{"two objects", object(`,"gen_ai.agent.id":"a"`) + "{}", "line", 78, "behind"},
		{"not a number", object(`,"gen_ai.agent.id":"a","stakeout.cost":NaN`), "stakeout.cost", 94, "number"},
		{"a word", "hunter2", "line", 0, "one JSON object"},
	}
}

// TestBadInput ships what shippers should not: each good line is stored, each
// bad one is told with its place and the reason, and nothing stops.
func TestBadInput(t *testing.T) {
	engine(t)
	p := up(t, filepath.Join(t.TempDir(), "data"), nil)
	began := time.Now()
	dir := t.TempDir()
	file := func(name, content string) string {
		name = filepath.Join(dir, name)
		check(t, os.WriteFile(name, []byte(content), 0o600))
		return name
	}
	var want []string // ids of the good lines
	good := func(id string) string {
		want = append(want, id)
		return `{"time":"2026-01-05T09:00:00Z","event.name":"heartbeat","gen_ai.agent.id":"good","event.id":"` + id + `"}`
	}

	// Bad lines between good ones, with line ends of both kinds and empty lines.
	faulty := badLines()
	var mixed strings.Builder
	for i, b := range faulty {
		mixed.WriteString(good(fmt.Sprintf("mixed-%d", i)) + []string{"\n", "\r\n", "\n\n", "\n\r\n"}[i%4])
		mixed.WriteString(b.line + []string{"\n", "\r\n"}[i%2])
	}
	mixed.WriteString(good("without a line end"))
	sent := p.ship(file("mixed.jsonl", mixed.String()))
	empty := sent - 2*len(faulty) - 1
	if want := strings.Count(mixed.String(), "\n\n") + strings.Count(mixed.String(), "\n\r\n"); empty != want {
		t.Errorf("ship acknowledged %d lines, want %d and %d empty ones", sent, sent-empty, want)
	}

	// A line that fits no record is told, the others go out.
	r := stakeout(t, "ship", "--config", p.file, "--format", "json",
		file("large.jsonl", good("before")+"\n"+strings.Repeat("z", 5<<20)+"\n"+good("behind")+"\n"))
	var told struct{ Lines, Refused int }
	check(t, json.Unmarshal([]byte(r.out), &told))
	if r.code != 1 || told.Lines != 2 || told.Refused != 1 || !strings.Contains(r.err, "line=2") {
		t.Errorf("ship of a line of 5 MB: exit status %d, %+v\n%s", r.code, told, r.err)
	}

	// Compressed, and a clock that is far ahead.
	zipped := func(line string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write([]byte(line + "\n"))
		check(t, err)
		check(t, z.Close())
		return b.String()
	}
	packed := zipped(good("packed"))
	p.ship(file("packed.jsonl.gz", packed))
	p.ship(file("ahead.jsonl", strings.Replace(good("ahead"), "2026-01-05", "2100-01-05", 1)+"\n"))
	torn := zipped(good("torn"))
	r = stakeout(t, "ship", "--config", p.file, file("torn.jsonl.gz", torn[:len(torn)-4]))
	if r.code != 1 || !strings.Contains(r.err, "torn.jsonl.gz") || !strings.HasPrefix(r.out, "1 lines") {
		t.Errorf("ship of a gzip file without its end: exit status %d\n%s%s", r.code, r.out, r.err)
	}

	// What other shippers produce: several lines in a record, nothing in one, a whole gzip file in one.
	several := good("first of three") + "\n" + `{"time":"soon"}` + "\n" + good("third of three") + "\n"
	p.produce(t, []byte(several), nil, []byte{}, []byte(packed))
	faulty = append(faulty,
		bad{"second of three", `{"time":"soon"}`, "time", 8, "RFC 3339"},
		bad{"gzip in a record", packed, "line", 0, "one JSON object"})

	p.stored(len(want))
	slices.Sort(want)
	if diff := cmp.Diff(want, p.rows("SELECT id FROM stakeout.events FINAL ORDER BY id")); diff != "" {
		t.Errorf("good lines and stored events (-want +got):\n%s", diff)
	}
	at, err := time.Parse("2006-01-02 15:04:05.999999999", p.rows("SELECT admitted FROM stakeout.events FINAL WHERE id = 'ahead'")[0])
	if err != nil || at.Before(began.Add(-time.Second)) || at.After(time.Now()) {
		t.Errorf("an event of the year 2100 is stored at %s, want when it came: %v", at, err)
	}
	if at := p.rows("SELECT time FROM stakeout.events FINAL WHERE id = 'ahead'")[0]; at != "2100-01-05 09:00:00.000000000" {
		t.Errorf("an event of the year 2100 is said to tell the time %s", at)
	}
	p.testRejects(t, faulty)

	_, metrics := p.get("/metrics")
	for _, m := range []struct {
		name, label string
		want        int
	}{
		{"stakeout_ingest_events_total", "", len(want)},
		{"stakeout_ingest_rejects_total", "", len(faulty)},
		{"stakeout_ingest_empty_lines_total", "", empty + 2},
		{"stakeout_ingest_skew_total", "", 1},
		{"stakeout_ingest_panics_total", "", 0},
		{"stakeout_store_rows_total", `table="rejects"`, len(faulty)},
		{"stakeout_store_refused_total", "", 0},
	} {
		if got := sum(t, metrics, m.name, m.label); got != m.want {
			t.Errorf("%s{%s} is %d, want %d", m.name, m.label, got, m.want)
		}
	}
	p.stop()
}

// produce writes records to the raw topic with a client that is not ours.
func (p *pipeline) produce(t *testing.T, values ...[]byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := consumer(t, p.kafka)
	for _, v := range values {
		check(t, c.ProduceSync(ctx, &kgo.Record{Topic: "stakeout.raw", Value: v}).FirstErr())
	}
}

// testRejects finds each bad line among the rejects by the record they name.
func (p *pipeline) testRejects(t *testing.T, faulty []bad) {
	type reject struct {
		Topic                 string
		Partition             int32
		Offset                int64
		Line, Position, Size  int
		Field, Reason, SHA256 string
		Time                  time.Time
		Lines                 int
		Stack                 string
	}
	var told []reject
	eventually(t, 20*time.Second, func() error {
		if told = answer[reject](t, "rejects", "--config", p.file, "--limit", "1000"); len(told) != len(faulty) {
			return fmt.Errorf("%d rejects are told, want %d", len(told), len(faulty))
		}
		return nil
	})
	raw := map[string][]byte{}
	for _, r := range records(t, p.kafka, "stakeout.raw") {
		raw[fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)] = r.Value
	}
	lines := map[string]reject{}
	for _, r := range told {
		line, ok := raw[fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)]
		if !ok {
			t.Errorf("a reject is about %s/%d/%d, where nothing is", r.Topic, r.Partition, r.Offset)
		}
		if r.Line > 0 {
			line = bytes.Split(line, []byte("\n"))[r.Line-1]
		}
		if hash := sha256.Sum256(line); r.Size != len(line) || r.SHA256 != hex.EncodeToString(hash[:8]) {
			t.Errorf("a reject is about %d bytes with hash %s, where %d bytes are with hash %x", r.Size, r.SHA256, len(line), hash[:8])
		}
		if strings.Contains(fmt.Sprint(r), "hunter2") || len(r.Reason) > 500 {
			t.Errorf("a reject tells what was in the line: %+v", r)
		}
		lines[string(line)] = r
	}
	for _, b := range faulty {
		r, ok := lines[b.line]
		if !ok {
			t.Errorf("%s: not among the rejects", b.name)
			continue
		}
		if r.Field != b.field || r.Position != b.position || !strings.Contains(r.Reason, b.reason) {
			t.Errorf("%s: rejected because of %s at %d: %s; want %s at %d: %s", b.name, r.Field, r.Position, r.Reason, b.field, b.position, b.reason)
		}
	}
}
