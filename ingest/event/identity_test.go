package event

import "testing"

func TestAppendIdentity(t *testing.T) {
	of := func(line string) string {
		t.Helper()
		var d Decoder
		var ev Event
		if err := d.Decode([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
		id, ok := ev.AppendIdentity([]byte("x"), []byte(line))
		if ok != (len(id) > 1) {
			t.Errorf("%s: id %q, %t", line, id, ok)
		}
		return string(id[1:])
	}
	line := func(more string) string {
		return `{"time":"2026-01-05T09:00:00Z","event.name":"heartbeat","gen_ai.agent.id":"a"` + more + `}`
	}
	first := of(line(`,"gen_ai.conversation.id":"s","stakeout.seq":0`))
	if first == "" || first != of(line(`,"gen_ai.conversation.id":"s","stakeout.seq":0`)) {
		t.Errorf("the same line twice has the ids %q and another", first)
	}
	for _, other := range []string{`,"gen_ai.conversation.id":"s","stakeout.seq":1`, `,"gen_ai.conversation.id":"t","stakeout.seq":0`, `,"gen_ai.conversation.id":"s","stakeout.seq":0,"user.id":"u"`} {
		if id := of(line(other)); id == first || id == "" {
			t.Errorf("%s: has the id %q, want one of its own", other, id)
		}
	}
	for _, none := range []string{"", `,"stakeout.seq":3`, `,"gen_ai.conversation.id":"s"`} {
		if id := of(line(none)); id != "" {
			t.Errorf("%s: has the id %q, want none: it may come twice and be two events", none, id)
		}
	}
}
