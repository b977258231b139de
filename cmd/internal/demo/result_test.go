package demo

import (
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	f := func(q float64, want time.Duration, v ...time.Duration) {
		t.Helper()
		if got := quantile(v, q); got != want {
			t.Errorf("quantile(%v, %g) = %d, want %d", v, q, got, want)
		}
	}
	f(.5, 0)
	f(.5, 7, 7)
	f(.99, 7, 7)
	f(.5, 2, 4, 3, 2, 1)
	f(.5, 2, 3, 2, 1)
	f(.75, 3, 1, 2, 3, 4)
	f(.99, 4, 1, 2, 3, 4)
	f(0, 1, 1, 2)
	f(1, 2, 1, 2)
	var hundred []time.Duration
	for i := range time.Duration(100) {
		hundred = append(hundred, i+1)
	}
	f(.99, 99, hundred...)
	f(.5, 50, hundred...)
}

func TestVerdict(t *testing.T) {
	whole := Result{Actions: 2, ActionsVerified: 2, Threats: []Threat{{Name: "a", Injected: 2, Detected: 2, Contained: 2}}}
	if err := whole.verdict(); err != nil {
		t.Errorf("all is well, and the verdict is %v", err)
	}
	f := func(want string, change func(*Result)) {
		t.Helper()
		r := whole
		r.Threats = []Threat{whole.Threats[0]}
		change(&r)
		if err := r.verdict(); err == nil || err.Error() != want {
			t.Errorf("the verdict is %v, want %s", err, want)
		}
	}
	f("a: 1 of 2 attacks were not detected\na: 1 of 1 detected attacks were not verified to be contained", func(r *Result) { r.Threats[0].Detected, r.Threats[0].Contained = 1, 0 })
	f("1 of 2 commands were not verified", func(r *Result) { r.ActionsVerified = 1 })
	f("3 lost", func(r *Result) { r.Lost = 3 })
	f("1 doubled", func(r *Result) { r.Doubled = 1 })
}

func TestPrint(t *testing.T) {
	var out strings.Builder
	r := Result{Events: 10, Seconds: 2, Findings: 3, FindingsStored: 3, FalseFindings: 1, AgentDays: 100,
		Threats: []Threat{{Name: "a", Injected: 4, Detected: 3, Contained: 2, DwellP50: 1500, DwellP99: 61000}}}
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1.5s", "1m1s", "3 findings, 3 stored", "0.0100 per agent-day", "lost 0, doubled 0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}
