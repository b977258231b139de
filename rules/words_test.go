package rules

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWantedWords puts a list and a mapping where one word is wanted: nobody is sent to write
// what he has written.
func TestWantedWords(t *testing.T) {
	f := func(policy, want string) {
		t.Helper()
		_, err := ParseResponse("my.yaml", []byte(policy))
		if err == nil {
			t.Errorf("no error for\n%s\nwant %s", policy, want)
			return
		}
		if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("error for\n%s\n(-want +got):\n%s", policy, diff)
		}
	}
	f("policies:\n- name: a\n  ladder:\n  - kind: [page]\n", "my.yaml:4: is a list, want a word")
	f("policies:\n- name: a\n  ladder:\n  - kind: {page: auto}\n", "my.yaml:4: is a mapping, want a word")
	f("policies:\n- name: a\n  ladder:\n  - mode: [auto]\n", "my.yaml:4: is a list, want a word")
	f("policies:\n- name: a\n  match: {min_severity: [high]}\n", "my.yaml:3: is a list, want a word")
	f("policies:\n- name: a\n  match: [high]\n", "my.yaml:3: is a list, want a mapping")
	f("brake: often\n", "my.yaml:1: is \"often\", want a mapping")
	f("budgets: {page: 3}\n", "my.yaml:1: is \"3\", want a mapping")
}
