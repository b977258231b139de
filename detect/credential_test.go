package detect

import (
	"fmt"
	"testing"
)

func TestScopeFilterErrsAsSaid(t *testing.T) {
	for known, most := range map[int]float64{20: 1.0 / 12, 40: 1.0 / 4} {
		const trials = 2000
		wrong := 0
		for i := range trials {
			f := make(scopeFilter, scopeWords)
			if !f.none() {
				t.Fatal("an empty filter holds something")
			}
			for s := range known {
				f.add([]string{fmt.Sprintf("resource-%d-%d:read", i, s)})
			}
			for s := range known {
				if n, first := f.missing([]string{fmt.Sprintf("resource-%d-%d:read", i, s)}); n > 0 {
					t.Fatalf("%s is missing from a filter that it was added to", first)
				}
			}
			if n, _ := f.missing([]string{fmt.Sprintf("resource-%d:grant", i)}); n == 0 {
				wrong++
			}
		}
		rate := float64(wrong) / trials
		t.Logf("%d known: one in %.1f new scopes is taken for known", known, 1/rate)
		if rate > most {
			t.Errorf("%d known: %.3f of new scopes are taken for known, want at most %.3f", known, rate, most)
		}
	}
}
