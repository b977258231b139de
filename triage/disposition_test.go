package triage

import (
	"strings"
	"testing"

	"github.com/stakeout-project/stakeout/detect"
)

// TestDispositionOfARuleThatWasBroken has a finding without a p-value, because chance
// has no part in it, told from one that nothing is known of.
func TestDispositionOfARuleThatWasBroken(t *testing.T) {
	f := func(f detect.Finding, verdict, confidence, asked string) {
		t.Helper()
		d := dispose(&Policy{}, &incident{Count: 1, Detectors: []string{f.Detector}}, &f, &risk{}, nil, 0)
		if string(d.Report.Verdict) != verdict || d.Report.Confidence != confidence || !strings.HasPrefix(d.Query[0], asked) {
			t.Errorf("%s, %s: %s; want %s, %s: %s", d.Report.Verdict, d.Report.Confidence, d.Query[0], verdict, confidence, asked)
		}
	}
	f(detect.Finding{ID: "1", Agent: "a", Detector: "supply_chain", Observed: "model shadow-7b at model.call", Rules: "r"}, "suspicious", "high", "Is this allowed for a? Asked by supply_chain of the rules in force: no, by rules r.")
	f(detect.Finding{ID: "2", Agent: "a", Detector: "supply_chain", Observed: "model shadow-7b at model.call", PValue: 1e-4, Level: 2e-4}, "suspicious", "low", "Is this normal for a?")
	f(detect.Finding{ID: "3", Agent: "a", Detector: "supply_chain"}, "insufficient_data", "low", "Is this normal for a?")
	f(detect.Finding{ID: "4", Agent: "a", Detector: "first_use", Observed: "crm:export"}, "insufficient_data", "low", "Is this normal for a?")
}
