package detect

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// anyFact is a fact of names that come again, of all lengths, and now and then of far too many.
func anyFact(r *rand.Rand) Fact {
	text := func(most int) string { return strings.Repeat(string(rune('a'+r.IntN(20))), r.IntN(most)) }
	f := Fact{Time: event.Timestamp(r.Int64() - r.Int64()), Latest: event.Timestamp(r.Int64()), Known: r.IntN(2) == 0, Deployed: r.IntN(2) == 0,
		Untrusted: r.IntN(2) == 0, Tainted: r.IntN(2) == 0, Astray: r.IntN(2) == 0}
	for _, s := range f.texts() {
		*s = text(8)
	}
	f.Event = fmt.Sprint("event ", r.IntN(1000))
	for range r.IntN(3) {
		f.Lineage = append(f.Lineage, text(8))
	}
	switch r.IntN(100) {
	case 0: // a chain of many, or of the same
		for range r.IntN(200) {
			f.Chain = append(f.Chain, text(300))
		}
	case 1:
		f.Chain = append(f.Chain, text(40<<10))
	}
	return f
}

// copied is a fact, and what goes with it, that shares no memory with the pages that hold them.
type copied struct {
	fact Fact
	with string
}

// holdPages keeps and drops facts at random, now and then most of them at once, moves them
// when that is said to be worth while, and holds what the pages have against copies. It
// returns how often they were moved.
func holdPages(t *testing.T, seed uint64, steps int) (moved int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	pages := &FactPages{}
	var held []PackedFact
	var copies, given, wanted []copied
	for step := range steps {
		f := anyFact(r)
		with := strings.Repeat("w", r.IntN(40))
		held = append(held, pages.Keep(&f, []byte(with)))
		copies = append(copies, copied{f.Clone(), with})
		stay := len(held)
		switch {
		case step%3000 == 2999:
			stay = len(held) / 20
		case r.IntN(3) == 0:
			stay--
		}
		for len(held) > stay {
			i, last := r.IntN(len(held)), len(held)-1
			pages.Drop(held[i])
			got, with := held[i].Unpack() // from a page that nobody else may hold any more
			given, wanted = append(given, copied{got, with}), append(wanted, copies[i])
			held[i], copies[i] = held[last], copies[last]
			held, copies = held[:last], copies[:last]
		}
		if pages.Sparse() {
			if pages, moved = move(held), moved+1; pages.Sparse() {
				t.Fatalf("step %d: pages with nothing but the %d facts that are held are sparse", step, len(held))
			}
		}
		if step%50 > 0 {
			continue
		}
		if pinned, size := taken(pages, held); pinned != pages.pinned || size != pages.held {
			t.Fatalf("step %d: facts of %d bytes in pages of %d, counted as %d and %d", step, size, pinned, pages.held, pages.pinned)
		}
	}
	for i, k := range held {
		got, with := k.Unpack()
		given, wanted = append(given, copied{got, with}), append(wanted, copies[i])
		if agent, id, at := k.Told(); agent != got.Agent || id != got.Event || at != got.Time {
			t.Errorf("told by %q of %q at %s, want %+v", agent, id, at, got)
		}
	}
	for i := range wanted {
		if !reflect.DeepEqual(wanted[i], given[i]) {
			t.Fatalf("fact %d is given out as %+v, want %+v", i, given[i], wanted[i])
		}
	}
	return moved
}

// taken is how many bytes the last page and those that hold facts take, and the facts in them.
func taken(pages *FactPages, held []PackedFact) (pinned, size int) {
	room := map[*factPage]bool{}
	if pages.last != nil {
		room[pages.last] = true
	}
	for _, k := range held {
		room[k.page] = true
		size += int(k.size)
	}
	for page := range room {
		pinned += cap(page.text)
	}
	return pinned, size
}

func TestPagesHoldWhatTheyAreGiven(t *testing.T) {
	for seed := range uint64(3) {
		if holdPages(t, seed, 7000) == 0 {
			t.Error("facts were never moved: the test shows nothing")
		}
	}
}

func FuzzFactPages(f *testing.F) {
	f.Add(uint64(7))
	f.Fuzz(func(t *testing.T, seed uint64) { holdPages(t, seed, 4000) })
}

// TestLargeFactsLeaveNoRoomBehind has one small fact stay between any two large ones that go:
// it must not keep a page for itself, nor for what is gone.
func TestLargeFactsLeaveNoRoomBehind(t *testing.T) {
	for _, size := range []int{10 << 10, 20 << 10, 70 << 10} {
		pages := &FactPages{}
		var held []PackedFact
		for i := range 1000 {
			small, large := Fact{Kind: CredentialFact, Agent: "a", Event: fmt.Sprint(i)}, Fact{Kind: CredentialFact, Agent: "a", Event: "e"}
			large.Chain = []string{fmt.Sprint(i, strings.Repeat("x", size))}
			held = append(held, pages.Keep(&small, nil))
			pages.Drop(pages.Keep(&large, nil))
			if pages.Sparse() {
				pages = move(held)
			}
		}
		if pinned, facts := taken(pages, held); pinned > 2*facts+5*factPageSize {
			t.Errorf("small facts of %d bytes between ones of %d that are gone take pages of %d", facts, size, pinned)
		}
	}
}

// move moves facts to pages of their own.
func move(held []PackedFact) *FactPages {
	pages := &FactPages{}
	for i := range held {
		f, with := held[i].Unpack()
		held[i] = pages.Keep(&f, []byte(with))
	}
	return pages
}
