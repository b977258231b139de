package detect

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestTailIsNoSmallerThanItSays lets agents with steady habits go on for a long
// time and counts how often their distribution looks odd. Where uses come in
// runs the correction is of the first order: it may be wrong by a factor of three.
func TestTailIsNoSmallerThanItSays(t *testing.T) {
	f := func(name string, run int, most float64) {
		t.Helper()
		rng := rand.New(rand.NewPCG(7, uint64(run)))
		names := []string{"crm:read", "mail:send", "wiki:read", "crm:write", "files:share", "crm:delete"}
		shares := []float64{.5, .2, .15, .08, .05, .02}
		counts := map[float64]int{.01: 0, .001: 0, .0001: 0}
		looks := 0
		for range 400 {
			var h Histogram
			for range 3000 / run {
				u, i := rng.Float64(), 0
				for u > shares[i] && i < len(shares)-1 {
					u -= shares[i]
					i++
				}
				for range run {
					h.learn(names[i], i == 1 || i >= 4, false, false)
					if h.due() && h.seen > 300 {
						looks++
						p := h.tail()
						for level := range counts {
							if p <= level {
								counts[level]++
							}
						}
					}
					if h.due() {
						h.dispersion.learn(h.shift())
					}
				}
			}
		}
		for level, n := range counts {
			rate := float64(n) / float64(looks)
			t.Logf("%s: p <= %g in %.5f of %d looks", name, level, rate, looks)
			if limit := most * level; rate > limit+3*math.Sqrt(limit/float64(looks)) {
				t.Errorf("%s: p <= %g in %.5f of looks", name, level, rate)
			}
		}
	}
	f("independent uses", 1, 1)
	f("runs of three", 3, 3)
}

func TestDescribeNamesTheUsual(t *testing.T) {
	var h Histogram
	if got := h.describe(); got != "" {
		t.Errorf("of nothing: %q", got)
	}
	for i := range 100 {
		h.learn([]string{"a:read", "a:read", "b:read", "c:read", "a-privilege-with-a-long-name:read"}[i%5], false, false, false)
	}
	if got, want := h.describe(), "a:read 40%, b:read 20%, c:read 20%"; got != want {
		t.Errorf("describe() = %q, want %q", got, want)
	}
	for i := range 50 {
		h.learn(string(rune('A'+i))+":x", false, false, false)
	}
	if h.used() != cells {
		t.Errorf("%d cells in use, want %d", h.used(), cells)
	}
}

func TestNearestPrivilegesOfAnAgent(t *testing.T) {
	var h Histogram
	for i := range 100 {
		switch {
		case i%10 == 0:
			h.learn("crm:update", true, false, false)
		case i%10 == 1:
			h.learn("mail:export", true, false, false)
		case i%10 < 5:
			h.learn("wiki:read", false, false, false)
		default:
			h.learn("crm:read", false, false, false)
		}
	}
	got := h.nearest("crm:export")
	want := []string{"crm:read, 50.0% of 100 uses", "crm:update, 10.0% of 100 uses", "mail:export, 10.0% of 100 uses"}
	if len(got) != 3 || !strings.HasPrefix(got[0], "crm:read") || !strings.HasPrefix(got[1], "crm:update") || !strings.HasPrefix(got[2], "mail:export") {
		t.Errorf("nearest to crm:export are %q, want about %q", got, want)
	}
	if got := (&Histogram{}).nearest("crm:export"); got != nil {
		t.Errorf("an agent without a past does %q", got)
	}
}
