package event

import (
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func FuzzDecode(f *testing.F) {
	_, line := full()
	f.Add([]byte(line))
	f.Add([]byte(head + `,"x":[1,{"y":[true,false,null,-1.5e+3,"\ud83d\ude00"]},[]],"user\u002eid":"\u00eb"}`))
	f.Add([]byte(head + `,"stakeout.arg.origins":{"a":"user","a":"x"},"stakeout.seq":7.0,"stakeout.cost":-0.0}`))
	f.Add([]byte(`{"time":1772442000000000000,"event.name":"heartbeat","gen_ai.agent.id":"\u0000"} `))
	for _, l := range corpus(f)[:20] {
		f.Add(l)
	}
	f.Fuzz(checkDecode)
}

// checkDecode holds Decode against what it promises of any line.
func checkDecode(t *testing.T, line []byte) {
	var d Decoder
	var ev Event
	err := d.Decode(line, &ev)
	var used Decoder // guesses the order of the fields, and the third time it keeps lists
	for range 4 {
		var again Event
		if said := used.Decode(line, &again); !reflect.DeepEqual(err, said) || cmp.Diff(ev, again) != "" || used.Unknown() != d.Unknown() {
			t.Fatalf("Decode(%q) = %+v, %v; and by a decoder that was used %+v, %v", line, ev, err, again, said)
		}
	}
	if err != nil {
		if e := err.(*Error); e.Offset > len(line) || e.Field == "" || e.Reason == "" {
			t.Errorf("Decode(%q): %#v points nowhere", line, e)
		}
		return
	}
	if !utf8.Valid(line) {
		t.Errorf("Decode takes %q, which is not UTF-8", line)
	}

	// encoding/json reads the same line, and the same strings and integers from it, wherever the names are ours to the letter.
	plain := reflect.New(plainEvent())
	if err := json.Unmarshal(line, plain.Interface()); err != nil && !json.Valid(line) {
		t.Fatalf("Decode takes %q, which encoding/json refuses: %v", line, err)
	}

	canonical := ev.AppendJSON(nil)
	if !json.Valid(canonical) {
		t.Fatalf("AppendJSON of %q is not JSON: %s", line, canonical)
	}
	var second Decoder
	var again Event
	if err := second.Decode(canonical, &again); err != nil {
		t.Fatalf("Decode(%q) = %s, which it refuses: %v", line, canonical, err)
	}
	if second.Unknown() != 0 {
		t.Errorf("Decode(%q) writes %d things of its own that it does not know", line, second.Unknown())
	}
	if diff := cmp.Diff(ev, again); diff != "" {
		t.Errorf("Decode(%q) and back (-first +second):\n%s", line, diff)
	}
	if d.Unknown() == 0 {
		agree(t, line, &ev, plain.Elem())
	}
}

// agree compares the plain fields of ev with what encoding/json read.
func agree(t *testing.T, line []byte, ev *Event, plain reflect.Value) {
	ours := reflect.ValueOf(ev).Elem()
	for i := range ours.NumField() {
		name := ours.Type().Field(i).Name
		var want any
		got := ours.Field(i).Interface()
		switch v := got.(type) {
		case string, []string:
			want = plain.Field(i).Interface()
			if l, ok := want.([]string); ok && len(l) == 0 {
				want = []string(nil)
			}
		case Opt[float64]:
			want = Opt[float64]{}
			if p := plain.Field(i).Interface().(*float64); p != nil {
				want = Some(*p + 0)
			}
		case Object[string]:
			m := plain.Field(i).Interface().(map[string]string)
			if len(v) > len(m) {
				t.Errorf("Decode(%q): %s has %d members, encoding/json says %d", line, name, len(v), len(m))
			}
			for _, member := range v {
				if m[member.Key] != member.Value {
					t.Errorf("Decode(%q): %s: %q is %q, encoding/json says %q", line, name, member.Key, member.Value, m[member.Key])
				}
			}
			continue
		default:
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Decode(%q): %s (-encoding/json +ours):\n%s", line, name, diff)
		}
	}
}

// Every line of the corpus holds to the same promises; real traces say more than invented ones.
func TestCorpus(t *testing.T) {
	for _, line := range corpus(t) {
		if err := new(Decoder).Decode(line, new(Event)); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		checkDecode(t, line)
	}
}
