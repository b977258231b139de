package entity_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// forever is after all facts.
const forever = event.Timestamp(1 << 62)

// drain takes out what is due.
func drain(q *entity.Queue, until event.Timestamp) (out []detect.Fact) {
	for f, _, ok := q.Next(until); ok; f, _, ok = q.Next(until) {
		out = append(out, *f)
	}
	return out
}

// TestQueueGivesOneOrder fills a queue with the facts of a story in many orders, each
// agent's in its own and some of them twice: what comes out, and what is found then,
// is the same to the last byte. That holds for every story, also for those about
// habits and those in which one fact takes the suspicion away from another.
func TestQueueGivesOneOrder(t *testing.T) {
	for name, story := range stories(t) {
		t.Run(name, func(t *testing.T) {
			told := facts(t, story)
			fill := func(facts []detect.Fact) (string, []detect.Finding) {
				q := entity.NewQueue(len(told))
				for i := range facts {
					q.Add(&facts[i], nil)
				}
				out := drain(q, forever)
				var order strings.Builder
				for _, f := range out {
					fmt.Fprintln(&order, f.Kind, f.Event, f.Agent, f.Entity)
				}
				return order.String(), observe(entity.New(detect.DefaultRules()), out)
			}
			order, found := fill(slices.Clone(told))
			for seed := range uint64(20) {
				order2, found2 := fill(interleave(rand.New(rand.NewPCG(seed, 2)), told))
				if diff := gocmp.Diff(order, order2); diff != "" {
					t.Fatalf("seed %d: order (-in order +shuffled):\n%.2000s", seed, diff)
				}
				if diff := gocmp.Diff(found, found2); diff != "" {
					t.Fatalf("seed %d: findings (-in order +shuffled):\n%s", seed, diff)
				}
			}
		})
	}
}

// TestQueueHoldsBack has two agents, of whom one tells late: what comes before a cut
// goes out in order of time, what comes after it waits for the next.
func TestQueueHoldsBack(t *testing.T) {
	day := time.Date(2026, 1, 9, 0, 0, 0, 0, time.UTC)
	q := entity.NewQueue(10)
	add := func(agent, minute int) {
		t.Helper()
		f := token(agent, fmt.Sprint("t", minute), day.Add(time.Duration(minute)*time.Minute), true)
		if !q.Add(&f, []byte{byte(minute)}) {
			t.Errorf("fact of minute %d is taken for one that was told before", minute)
		}
	}
	want := func(until int, minutes ...int) {
		t.Helper()
		var got []int
		for {
			_, minute, ok := q.Next(event.At(day.Add(time.Duration(until) * time.Minute)))
			if !ok {
				break
			}
			got = append(got, int(minute[0]))
		}
		if diff := gocmp.Diff(minutes, got); diff != "" {
			t.Errorf("until minute %d (-want +got):\n%s", until, diff)
		}
	}
	add(1, 3)
	add(1, 5)
	add(2, 1)
	want(0)
	add(2, 4)
	want(4, 1, 3, 4)
	add(2, 2) // later than all others that were told until then
	want(1)
	add(1, 7)
	want(5, 2, 5)
	again := token(2, "t2", day.Add(2*time.Minute), true)
	if q.Add(&again, nil) {
		t.Error("a fact that is told again is new")
	}
	if n := q.Len(); n != 1 {
		t.Errorf("%d facts are held, want 1", n)
	}
}

// TestForeseenEventsDisplaceNone has somebody tell, by a topic of his, of what another agent is
// about to do, under the ids of the events that it will be: clean content instead of poison. What
// the agent's own topic tells is judged as if he had not.
func TestForeseenEventsDisplaceNone(t *testing.T) {
	story := func(forged bool) []detect.Finding {
		q, e := entity.NewQueue(1000), entity.New(detect.DefaultRules())
		at := event.At(monday)
		tell := func(f detect.Fact) {
			at += event.Timestamp(time.Minute)
			f.Kind, f.Time, f.Latest, f.Entity, f.Store, f.Record, f.Known = detect.RecordFact, at, at, "r", "notes", "r", true
			if forged {
				said := f
				said.Source, said.Untrusted, said.Astray = "raw.public", false, false
				said.Time--
				q.Add(&said, nil)
			}
			f.Source = "raw"
			q.Add(&f, nil)
		}
		tell(detect.Fact{Event: "writes", Agent: "reader", Deed: detect.Wrote, Untrusted: true})
		tell(detect.Fact{Event: "acts", Agent: "clerk", Session: "s", Deed: detect.Acted, Tool: "pay", Effect: event.Money, Astray: true})
		return observe(e, drain(q, forever))
	}
	alone := story(false)
	if len(alone) == 0 {
		t.Fatal("nothing is found of poison that another agent wrote")
	}
	told := story(true)
	for _, f := range alone {
		if !slices.ContainsFunc(told, func(o detect.Finding) bool { return o.ID == f.ID }) {
			t.Errorf("not found where somebody tells of it first: %+v", f)
		}
	}
}

// TestQueueIsBounded has two partitions of facts come one after the other: beyond the
// bound the earliest go out, and facts that are nearer together than it are in order.
func TestQueueIsBounded(t *testing.T) {
	day := time.Date(2026, 1, 9, 0, 0, 0, 0, time.UTC)
	const limit, n = 100, 5000
	f := func(skew int) (disordered int) {
		q := entity.NewQueue(limit)
		last := event.Timestamp(0)
		for i := range n {
			no := i ^ 1 // neighbours change places
			if i%2 == 0 {
				no += skew
			}
			fact := token(i, fmt.Sprint(no), day.Add(time.Duration(no)*time.Second), true)
			q.Add(&fact, nil)
			for got, _, ok := q.Next(0); ok; got, _, ok = q.Next(0) {
				if got.Place() < last {
					disordered++
				}
				last = max(last, got.Place())
			}
			if q.Len() > limit {
				t.Fatalf("%d facts are held, want at most %d", q.Len(), limit)
			}
		}
		return disordered
	}
	if n := f(limit); n != 0 {
		t.Errorf("%d facts in disorder that were within the bound of each other", n)
	}
	if n := f(4 * limit); n == 0 {
		t.Error("facts far from each other are in order: the test shows nothing")
	}
}

// TestRestartGathersNobody has the agents of a fleet meet things of their own, each in
// its own time, and then tell all of it again within a minute, as after a restart.
func TestRestartGathersNobody(t *testing.T) {
	e := entity.New(detect.DefaultRules())
	monday := time.Date(2026, 1, 9, 0, 0, 0, 0, time.UTC) // a Friday: the week begins on a Thursday
	send := func(agent int, to string, at time.Time, id string) []detect.Finding {
		f := token(agent, to, at, true)
		f.Kind, f.Event = detect.DestinationFact, id
		return e.Observe(&f)
	}
	for i := range 40 {
		send(i, fmt.Sprint("own-", i), monday, fmt.Sprint("first ", i))
	}
	for i := range 8 {
		if found := send(i, "partner.example", monday.Add(time.Duration(i)*12*time.Hour), fmt.Sprint("partner ", i)); len(found) > 0 {
			t.Fatalf("agents that come one by one are a crowd: %v", claims(found))
		}
	}
	restart := monday.Add(5 * 24 * time.Hour)
	for i := range 8 {
		if found := send(i, "partner.example", restart.Add(time.Duration(i)*time.Second), fmt.Sprint("again ", i)); len(found) > 0 {
			t.Errorf("a restart gathers a crowd: %v", claims(found))
		}
	}
	found := 0
	for i := range 20 {
		found += len(send(10+i, "drop.example", restart.Add(time.Duration(i)*time.Second), fmt.Sprint("drop ", i)))
	}
	if found != 1 {
		t.Errorf("%d findings about agents that do gather, want 1: the test shows nothing", found)
	}
}

func FuzzParseCut(f *testing.F) {
	f.Add([]byte(`{"until":"2026-01-05T09:00:00Z"}`))
	f.Add([]byte(`{"until":"1970-01-01T00:00:00Z"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		cut, err := entity.ParseCut(b)
		if err != nil {
			return
		}
		again, err := cut.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := entity.ParseCut(again); got != cut || err != nil {
			t.Errorf("%s is read as %v, and then as %v, %v", b, cut, got, err)
		}
	})
}

func BenchmarkQueue(b *testing.B) {
	q := entity.NewQueue(32_768)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		f := token(i%10_000, fmt.Sprint("t", i), at.Add(time.Duration(i+rng.IntN(30_000))*time.Second), true)
		q.Add(&f, nil)
		q.Next(0)
		i++
	}
}
