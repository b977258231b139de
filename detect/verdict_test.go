package detect

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A clerk is an agent of a steady kind, followed from its first event on.
type clerk struct {
	*Engine
	offset, days, ops int
}

// operate puts a decision between the events.
func (c *clerk) operate(t testing.TB, op Operation) {
	t.Helper()
	ev := &event.Event{Time: c.now(), Name: event.ConfigChange, Agent: "a", ID: fmt.Sprint("op-", c.ops)}
	if err := c.Operate(op, ev, int64(c.offset), event.Source{}); err != nil {
		t.Fatal(err)
	}
	c.offset++
	c.ops++
}

func (c *clerk) now() event.Timestamp {
	return start + event.Timestamp(c.days)*event.Timestamp(24*time.Hour)
}

// day lets the agent work for one, and ends it with a first use of a privilege if one is given.
func (c *clerk) day(privilege string) (found []Finding) {
	const uses = 24
	for i := range uses {
		ev := use("a", i)
		ev.ID, ev.Session = fmt.Sprintf("%d-%d", c.days, i), fmt.Sprintf("s%d-%d", c.days, i/10)
		ev.Time = c.now() + event.Timestamp(i)*event.Timestamp(30*time.Minute)
		if i == uses-1 && privilege != "" {
			ev.Privilege, ev.Tool, ev.Effect, ev.Session = privilege, "crm_any", event.Share, fmt.Sprint("x", c.days)
		}
		found = append(found, c.Observe(ev, int64(c.offset), event.Source{})...)
		c.offset++
	}
	c.days++
	return found
}

func newClerk(days int) *clerk {
	c := &clerk{Engine: New(DefaultRules())}
	for range days {
		c.day("")
	}
	return c
}

func (c *clerk) profile() *Profile { return &c.agents.find("a").profile }

// TestVerdictTrueForgets has an attack come again after a person has called it one.
func TestVerdictTrueForgets(t *testing.T) {
	c := newClerk(60)
	first := c.day("crm:export")
	if len(first) != 1 || len(first[0].Novel) != 1 {
		t.Fatalf("found %+v, want one finding about something new", first)
	}
	v := Verdict{Detectors: []string{"first_use"}, Novel: first[0].Novel}
	before := *c.profile()
	c.operate(t, v.Operation())
	if got := c.profile().novelties[privilegesUsed].surprises; got >= before.novelties[privilegesUsed].surprises {
		t.Errorf("an attack still counts as the agent's own way: %v", got)
	}
	c.operate(t, v.Operation()) // in another incident: it is forgotten already
	v.Withdrawn = true
	c.operate(t, v.Operation())
	after := *c.profile()
	after.seen = before.seen
	if diff := before.novelties[privilegesUsed].surprises - after.novelties[privilegesUsed].surprises; diff > 1e-6 || diff < -1e-6 {
		t.Errorf("surprises differ by %v after a verdict that was taken back", diff)
	}
	if !after.habit(privilegesUsed).knows(hash("crm:export")) {
		t.Error("what was known before the verdict is not known after it was taken back")
	}
	v.Withdrawn = false
	c.operate(t, v.Operation())
	for range 10 {
		if more := c.day(""); len(more) != 0 {
			t.Errorf("found %+v when nothing came after it, want nothing", more)
		}
	}
	if again := c.day("crm:export"); len(again) != 1 {
		t.Errorf("found %+v when it came again, want one finding", again)
	}
	if third := c.day("crm:export"); len(third) != 0 {
		t.Errorf("found %+v without a further verdict, want nothing", third)
	}
}

// TestVerdictsTrueForgetAll has several things found that were done for the first time, of which
// each counts for more than the one before: nothing is left when all are called true.
func TestVerdictsTrueForgetAll(t *testing.T) {
	var p Profile
	n := &p.novelties[privilegesUsed]
	for item := range uint64(12) {
		n.admit(occasion{item: item + 1, trial: true, odd: true}, hourly(int(item)), true, true)
		p.habit(privilegesUsed).remember(item + 1)
	}
	was := n.surprises
	for _, withdrawn := range []bool{false, true, false} {
		for item := range uint16(12) {
			p.unlearn(privilegesUsed, mark(uint64(item+1)), withdrawn)
		}
		want := float32(0)
		if withdrawn {
			want = was
		}
		if got := n.surprises; math.Abs(float64(got-want)) > 1e-4 {
			t.Errorf("withdrawn %t: surprises come to %v, want %v", withdrawn, got, want)
		}
	}
}

// TestVerdictFalseIsBounded has a person call every finding false: what was found
// before is found still for a good part of the time, and as before when that ends.
func TestVerdictFalseIsBounded(t *testing.T) {
	const trials = 60
	found := func(lenient bool) (n int) {
		for trial := range trials {
			c := newClerk(10)
			for i := range 7 + trial { // a false verdict a week, at whatever was found
				if lenient && i%7 == 0 {
					c.operate(t, Verdict{False: true, Detectors: []string{"first_use"}}.Operation())
				}
				c.day("")
			}
			n += len(c.day("crm:export"))
		}
		return n
	}
	strict, lenient := found(false), found(true)
	t.Logf("of %d first uses %d are found without verdicts, %d where every finding is called false", trials, strict, lenient)
	if lenient < strict/3 || lenient > strict {
		t.Errorf("%d are found under a lenient operator, want a third to all of %d", lenient, strict)
	}
}

func TestVerdictFades(t *testing.T) {
	c := newClerk(30)
	for range 9 {
		c.operate(t, Verdict{False: true, Detectors: []string{"first_use", "no_such_detector"}}.Operation())
	}
	var counts []int
	for range 26 {
		counts = append(counts, c.profile().doubts[0].count())
		for range 7 {
			c.day("")
		}
	}
	if counts[0] != mostFalse || counts[7] != mostFalse || counts[9] != mostFalse-1 || counts[25] != 0 || !slices.IsSortedFunc(counts, func(a, b int) int { return b - a }) {
		t.Errorf("doubts by week are %v", counts)
	}
	for slot, d := range c.profile().doubts {
		if d != 0 {
			t.Errorf("slot %d is in doubt for ever: %v", slot, d)
		}
	}
}

func TestDoubt(t *testing.T) {
	at := func(week int) event.Timestamp { return start + event.Timestamp(week)*event.Timestamp(7*24*time.Hour) }
	f := func(name string, d doubt, now event.Timestamp, want int) {
		t.Helper()
		if got := d.fade(now).count(); got != want {
			t.Errorf("%s: count is %d, want %d", name, got, want)
		}
	}
	d := doubt(0).with(5, at(0))
	f("more than three are three", d, at(0), 3)
	f("seven weeks", d, at(7), 3)
	f("eight weeks", d, at(8), 2)
	f("silence of half a year", d, at(25), 0)
	f("an event from before the verdict", d, at(-3), 3)
	f("across the turn of the circle", doubt(0).with(2, at(60)), at(68), 1)
	f("none", doubt(0).with(-1, at(0)), at(0), 0)

	share := 1e-3
	q := doubt(0).with(3, at(0))
	for _, x := range []struct{ before, after Test }{
		{Test{P: 1e-5}, Test{P: 4e-5}},
		{Test{P: .5}, Test{P: 1}},
		{Test{Rate: 1e-4, Odd: true}, Test{Rate: 4e-4, Odd: true}},
		{Test{Rate: 1e-3}, Test{Rate: 2e-3}},
		{Test{Rate: 9e-3}, Test{Rate: 9e-3}}, // beyond what the share pays for already
		{Test{Certain: true}, Test{Certain: true}},
		{Test{}, Test{}},
	} {
		if diff := cmp.Diff(x.after, q.calibrated(x.before, share)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", x.before, diff)
		}
	}
}

func TestVerdictEndsDrift(t *testing.T) {
	e := grown(t, 400)
	next := 400
	for ; e.agents.find("a").profile.State() != Drifted; next++ {
		ev := export("a", next)
		ev.Session = "one"
		e.Observe(ev, int64(next), event.Source{})
	}
	v := Verdict{False: true, Detectors: []string{"privilege_drift"}}
	if err := e.Operate(v.Operation(), decided(next, "v1"), int64(next), event.Source{}); err != nil {
		t.Fatal(err)
	}
	if got := e.agents.find("a").profile.State(); got != Active {
		t.Errorf("after a false drift the agent is %s, want active", got)
	}
	p := e.agents.find("a").profile
	p.excuse(Drift{})
	if p != e.agents.find("a").profile {
		t.Error("a drift that is over is excused again")
	}
}

func TestVerdictOperation(t *testing.T) {
	for _, v := range []Verdict{
		{False: true, Detectors: []string{"first_use", "memory"}, Novel: []string{"privilege:4f1a"}},
		{Withdrawn: true, Detectors: []string{"first_use"}},
		{},
	} {
		got, ok := v.Operation().verdict()
		if diff := cmp.Diff(v, got); !ok || diff != "" {
			t.Errorf("%q (-want +got):\n%s", v.Operation(), diff)
		}
	}
	for _, op := range append(Operations(), "", "falsely_positive", "withdraw_reset") {
		if v, ok := op.verdict(); ok {
			t.Errorf("%q is taken for the verdict %+v", op, v)
		}
	}
}

func TestNovelRoundTrips(t *testing.T) {
	for k := range kinds {
		name := noted(k)
		got, item, ok := parseNovel(name + ":0a1f")
		if want := name != ""; ok != want || ok && (got != k || item != 0x0a1f) {
			t.Errorf("%q of kind %d is read as %d, %04x, %v", name, k, got, item, ok)
		}
	}
	for _, s := range []string{"", ":", "privilege", "privilege:", "privilege:0000", "privilege:10000", "privilege:zz", "soul:0001"} {
		if _, _, ok := parseNovel(s); ok {
			t.Errorf("%q is taken for something new", s)
		}
	}
}

func FuzzVerdict(f *testing.F) {
	f.Add("false_positive first_use privilege:4f1a")
	f.Add("withdraw_true_positive delegation:0006")
	f.Fuzz(func(t *testing.T, text string) {
		c := newClerk(10)
		ev := &event.Event{Time: c.now(), Name: event.ConfigChange, Agent: "a", ID: "op"}
		if err := c.Operate(Operation(text), ev, int64(c.offset), event.Source{}); err != nil {
			return
		}
		c.offset++
		c.day("crm:export")
		var p Profile
		if err := p.UnmarshalBinary(c.profile().AppendBinary(nil)); err != nil {
			t.Fatal(err)
		}
		if p != *c.profile() {
			t.Error("the profile does not survive its encoding")
		}
	})
}
