package app

import "testing"

func TestGrowth(t *testing.T) {
	f := func(live uint64, bytes int64, want int) {
		t.Helper()
		if got := growth(live, bytes); got != want {
			t.Errorf("growth(%d, %d) = %d, want %d", live, bytes, got, want)
		}
	}
	f(0, 128<<20, 100)
	f(64<<20, 128<<20, 100)
	f(256<<20, 128<<20, 50)
	f(2<<30, 128<<20, 6)
	f(2<<30, 32<<20, 1)
	f(1<<40, 128<<20, 1)
}

// TestHeapGrowth wants the tighter of two bounds where one process has both roles.
func TestHeapGrowth(t *testing.T) {
	cfg := DefaultConfig()
	f := func(want int64, roles ...Role) {
		t.Helper()
		if got := heapGrowth(cfg, roles); got != want {
			t.Errorf("heapGrowth(%v) = %d, want %d", roles, got, want)
		}
	}
	f(0, Ingest, Triage)
	f(storeGrowth, Store)
	f(cfg.Detect.HeapGrowth, Detect)
	f(cfg.Detect.HeapGrowth, Ingest, Store, Detect)
}
