package detect

import "testing"

// TestKindsShareTheTable holds that each kind has its own slots, and all of them
// are somebody's.
func TestKindsShareTheTable(t *testing.T) {
	var p Profile
	for k := range kinds {
		for i := range k.items(&p) {
			k.items(&p)[i]++
		}
	}
	for i, n := range p.items {
		if n != 1 {
			t.Errorf("slot %d belongs to %d kinds, want 1", i, n)
		}
	}
}
