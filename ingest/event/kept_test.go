package event

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Lists that come again, in any order and with more of them than there are places for,
// are what a decoder reads that has seen none before.
func TestListsThatComeAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	lists := make([][]string, 3<<keptBits)
	for i := range lists {
		for n := range 1 + r.IntN(12) {
			lists[i] = append(lists[i], fmt.Sprintf(`list-%d:"\é item %d`, i, n))
		}
		if i%5 == 0 {
			lists[i][len(lists[i])-1] += "]"
		}
	}
	var d Decoder
	found := 0
	for range 20_000 {
		// A few come much more often than the others, so that some stay and some make way.
		a, b := int(float64(len(lists))*r.Float64()*r.Float64()*r.Float64()), r.IntN(1+r.IntN(len(lists)))
		want := Event{Time: 1, Name: Heartbeat, Agent: "a", PrincipalScopes: lists[a], CredentialScopes: lists[b], DelegateScopes: lists[b]}
		var got Event
		if err := d.Decode(want.AppendJSON(nil), &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("lists %d and %d (-want +got):\n%s", a, b, cmp.Diff(want, got))
		}
		for i := range d.kept.lists {
			if d.kept.lists[i].turn == d.kept.turn {
				found++
			}
		}
	}
	if found == 0 {
		t.Error("no list was ever kept")
	}
}

// A list is taken for one that came before only where it stands there to the letter: what
// is wrong in it is told as ever.
func TestBrokenListsAreNotKept(t *testing.T) {
	good := Event{Time: 1, Name: Heartbeat, Agent: "a", PrincipalScopes: []string{"crm:read and much else that is long", "crm:export and much else that is long"}}
	line := string(good.AppendJSON(nil))
	var d Decoder
	var ev Event
	for range 4 {
		if err := d.Decode([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
	}
	for i := len(line) - 80; i < len(line); i++ {
		broken := []byte(line)
		broken[i] = 0x01
		if err, want := d.Decode(broken, &ev), new(Decoder).Decode(broken, new(Event)); err == nil || err.Error() != want.Error() {
			t.Errorf("Decode(%q) = %v, want %v", broken, err, want)
		}
	}
}
