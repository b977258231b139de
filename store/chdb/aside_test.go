package chdb

import "testing"

func TestSources(t *testing.T) {
	f := func(part string, want bool, parts ...string) {
		t.Helper()
		s, ok := spanOf(part)
		if got := ok && s.sources(parts); got != want {
			t.Errorf("%s is merged from %v: %t, want %t", part, parts, got, want)
		}
	}
	f("all_1_4_2", true, "all_1_2_1", "all_3_4_1")
	f("all_1_4_2", true, "all_3_4_1", "all_1_1_0", "all_2_2_0", "all_1_2_1")
	f("all_1_4_2_7", true, "all_1_1_0_7", "all_2_4_1")
	f("all_1_4_2", true, "all_1_2_1", "all_4_4_0")
	f("all_1_4_2", false, "all_1_3_1")
	f("all_1_4_2", false, "all_2_4_1")
	f("all_1_4_2", false, "all_1_5_1")
	f("all_1_4_2", false, "20261123_1_4_1")
	f("all_1_1_0", false)
	f("20261123_10_11_1", true, "20261123_10_10_0", "20261123_11_11_0", "20261123_9_9_0")
	f("tmp_merge_all_1_4_2", false, "all_1_4_1")
	f("all_4_1_2", false, "all_1_4_1")
	f("all_1_99999999999999999999_2", false, "all_1_4_1")
}
