package event

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFieldNamesAreTheTypes(t *testing.T) {
	var want []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Event]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		want = append(want, name)
	}
	if got := FieldNames(); !slices.Equal(got, want) {
		t.Errorf("FieldNames() = %v, want %v", got, want)
	}
}

func TestFieldOf(t *testing.T) {
	for i, name := range FieldNames() {
		if got := fieldOf(name); got != field(i) {
			t.Errorf("fieldOf(%s) = %s; a slotFactor that fits is %#x", name, got, fittingFactor())
			break
		}
	}
	for _, name := range []string{"", "tim", "timer", "Time", LineField, "stakeout.", strings.Repeat("x", 1000)} {
		if got := fieldOf(name); got != fLine {
			t.Errorf("fieldOf(%.20s) = %s, want none", name, got)
		}
	}
}

func TestKindOf(t *testing.T) {
	names := map[uint8]Name{}
	for _, n := range Names() {
		if other, ok := names[kindOf(n)]; ok {
			t.Errorf("kindOf(%s) = kindOf(%s)", n, other)
		}
		names[kindOf(n)] = n
	}
}

// fittingFactor searches for a factor that sends no two names to one slot.
func fittingFactor() uint32 {
	r := rand.New(rand.NewPCG(1, 2))
search:
	for {
		factor := r.Uint32() | 1
		var used [1 << slotBits]bool
		for _, name := range FieldNames() {
			slot := slotOf(name, factor)
			if used[slot] {
				continue search
			}
			used[slot] = true
		}
		return factor
	}
}

func TestEnumerationsKnowThemselves(t *testing.T) {
	check(t, Names(), nameOf)
	check(t, Effects(), effectOf)
	check(t, Sensitivities(), sensitivityOf)
	check(t, Origins(), originOf)
	check(t, Trusts(), trustOf)
}

func check[T ~string](t *testing.T, all []T, of func(string) T) {
	t.Helper()
	for _, v := range all {
		if got := of(string(v)); got != v {
			t.Errorf("%s is read as %q", v, got)
		}
	}
	if got := of("nothing known"); got != "" {
		t.Errorf("something unknown is read as %s", got)
	}
}

// The fast path through a string must stop exactly at the first byte that ends it.
func TestPlain(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			b := []byte(strings.Repeat("~ a!#[]\x7f", 3))
			b[at] = byte(c)
			want := len(b)
			if c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
				want = at
			}
			if got := plain(string(b)); got != want {
				t.Fatalf("plain with %#x at %d = %d, want %d", c, at, got, want)
			}
		}
	}
}
