package command

import (
	"strings"
	"testing"
	"time"
)

func TestIsCanary(t *testing.T) {
	op, other := newSigner(t), newSigner(t)
	k := Keyring{Operators: []string{other.Public(), op.Public()}, Triage: []string{newSigner(t).Public()}}
	now := time.Unix(1_790_000_000, 5)
	agent, err := NewCanary(op, now)
	if err != nil {
		t.Fatal(err)
	}
	f := func(want bool, agent string, at time.Time) {
		t.Helper()
		if sent, ok := IsCanary(k, agent, at); ok != want || ok && !sent.Equal(time.Unix(1_790_000_000, 0)) {
			t.Errorf("IsCanary(%q) = %s, %t; want %t", agent, sent, ok, want)
		}
	}
	f(true, agent, now)
	f(true, agent, now.Add(time.Hour))
	f(false, agent, now.Add(25*time.Hour))
	f(false, agent+"A", now)
	f(false, strings.Replace(agent, "1790000000", "1790000001", 1), now)
	f(false, strings.Replace(agent, "-1790000000", "-+1790000000", 1), now)
	f(false, "stakeout-canary-", now)
	f(false, "stakeout-canary-1790000000", now)
	f(false, "clerk", now)
	stranger, err := NewCanary(newSigner(t), now)
	if err != nil {
		t.Fatal(err)
	}
	f(false, stranger, now)
	if len(agent) > 128 || !validID(agent) {
		t.Errorf("the id %q does not fit a subject", agent)
	}
}

func FuzzIsCanary(f *testing.F) {
	op := newSigner(f)
	k := Keyring{Operators: []string{op.Public(), "nonsense"}}
	now := time.Unix(1_790_000_000, 0)
	agent, err := NewCanary(op, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(agent)
	f.Add("stakeout-canary--1-")
	f.Fuzz(func(t *testing.T, name string) {
		if _, ok := IsCanary(k, name, now); ok && name != agent {
			t.Errorf("%q counts as a canary, but nobody has signed it", name)
		}
	})
}
