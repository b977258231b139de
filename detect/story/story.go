// Package story reads the scripts of events that the stories of the tests are
// told in: what an agent does in weeks, on a page.
package story

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// Events expands a script of JSON lines, one event each, and puts all of them in order of
// time. A line
//
//	repeat 300 every 1h {...}
//
// stands for as many events, the first at the time given, %d in it for the number. A line
//
//	operate false_positive first_use {...}
//
// is a person's decision, which the event carries: it is among decisions. An event without
// an id has that of its line and number.
func Events(t testing.TB, script []byte) (out []*event.Event, decisions map[*event.Event]detect.Operation) {
	t.Helper()
	decisions = map[*event.Event]detect.Operation{}
	for n, line := range strings.Split(strings.TrimSpace(string(script)), "\n") {
		count, step := 1, time.Duration(0)
		if rest, ok := strings.CutPrefix(line, "repeat "); ok {
			var every string
			if _, err := fmt.Sscanf(rest, "%d every %s", &count, &every); err != nil {
				t.Fatalf("line %d: %v", n+1, err)
			}
			var err error
			if step, err = time.ParseDuration(every); err != nil {
				t.Fatalf("line %d: %v", n+1, err)
			}
			line = line[strings.IndexByte(line, '{'):]
		}
		op, decision := "", false
		if rest, ok := strings.CutPrefix(line, "operate "); ok {
			op, line, decision = rest[:strings.IndexByte(rest, '{')], rest[strings.IndexByte(rest, '{'):], true
		}
		for i := range count {
			text := strings.ReplaceAll(line, "%d", fmt.Sprint(i))
			var ev event.Event
			if err := ev.UnmarshalJSON([]byte(text)); err != nil {
				t.Fatalf("line %d: %v", n+1, err)
			}
			ev.Time += event.Timestamp(time.Duration(i) * step)
			if ev.ID == "" {
				ev.ID = fmt.Sprintf("%d.%d", n+1, i)
			}
			out = append(out, &ev)
			if decision {
				decisions[&ev] = detect.Operation(op)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *event.Event) int { return cmp.Compare(a.Time, b.Time) })
	return out, decisions
}
